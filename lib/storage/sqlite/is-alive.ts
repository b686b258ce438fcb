/** Whether a process of this machine is alive; this one is. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // It belongs to somebody else, but is there.
    return (error as { code?: unknown }).code === 'EPERM'
  }
}
