/** Units of time with their length in milliseconds, the longest first. */
const UNITS: readonly (readonly [name: string, length: number])[] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
]

/** A duration as people read it: `59 s`, `1.5 h`, `0.1 ms`. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds === Infinity) return 'ever'
  const [name, length] = UNITS.find(([, unit]) => milliseconds >= unit) ?? ['ms', 1]
  return `${rounded(milliseconds / length)} ${name}`
}

/** A number of bytes as people read it: `200 B`, `1.2 KB`. */
export function formatSize(bytes: number): string {
  const index = Math.min(4, Math.floor(Math.log(Math.max(1, bytes)) / Math.log(1000)))
  return `${rounded(bytes / 1000 ** index)} ${['B', 'KB', 'MB', 'GB', 'TB'][index]}`
}

/** With a digit after the point where there is but one before it. */
function rounded(value: number): string {
  return String(value < 10 ? Math.floor(value * 10) / 10 : Math.floor(value))
}
