// Serves the files of a folder by nginx, where there is one: a process of its own on a free port.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { MEDIA_TYPES } from './files.ts'
import { freePort, type Origin } from './server.ts'

/** Debian keeps it where the PATH of users other than root does not lead. */
const FOLDERS = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']

/** Where nginx is, if it is anywhere. */
export function findNginx(): string | undefined {
  return FOLDERS.map((folder) => join(folder, 'nginx')).find((file) => existsSync(file))
}

/** Starts nginx with a configuration of its own; as {@link serveFiles} it can keep some files elsewhere. */
export async function startNginx(
  nginx: string,
  root: string,
  elsewhere: Readonly<Record<string, string>> = {},
): Promise<Origin> {
  const prefix = mkdtempSync(join(tmpdir(), 'nginx-'))
  const port = await freePort()
  const config = join(prefix, 'nginx.conf')
  writeFileSync(config, configuration(port, root, elsewhere))

  const child = spawn(nginx, ['-p', prefix, '-c', config, '-e', 'stderr'], { stdio: 'inherit' })
  const exited = once(child, 'exit')
  const kill = () => void child.kill()
  const terminate = () => process.exit(143)
  process.once('exit', kill).once('SIGTERM', terminate)
  const origin = {
    url: `http://127.0.0.1:${port}`,
    async close() {
      process.off('exit', kill).off('SIGTERM', terminate)
      kill()
      await exited
      rmSync(prefix, { recursive: true })
    },
  }
  for (let attempt = 0; attempt < 100 && child.exitCode === null; attempt += 1) {
    if (await fetch(origin.url).catch(() => undefined)) return origin
    await sleep(50)
  }
  await origin.close()
  throw new Error('nginx does not answer')
}

function configuration(port: string, root: string, elsewhere: Readonly<Record<string, string>>) {
  const types = Object.entries(MEDIA_TYPES).map(([extension, type]) => `${type} ${extension};`)
  const texts = new Set(Object.values(MEDIA_TYPES).filter((type) => !/image|html/.test(type)))
  const aliases = Object.entries(elsewhere).map(
    ([path, file]) => `location = ${path} { alias ${JSON.stringify(file)}; }`,
  )
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path temporary;`,
  )
  return `
    # The workers of root are somebody else, who need not be able to read the files.
    ${process.getuid?.() === 0 ? 'user root;' : ''}
    daemon off;
    pid nginx.pid;
    error_log stderr crit;
    events {}
    http {
      access_log off;
      ${temporary.join('\n')}
      types { ${types.join('\n')} }
      etag on;
      gzip on;
      gzip_comp_level 6;
      gzip_vary on;
      gzip_types ${[...texts].join(' ')};
      server {
        listen 127.0.0.1:${port};
        root ${JSON.stringify(root)};
        ${aliases.join('\n')}
      }
    }`
}
