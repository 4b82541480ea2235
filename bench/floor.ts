/* What the machine can do at most: TCP without TLS, and the cipher without a socket. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Row } from './compare.ts'
import { connect } from './contenders.ts'
import { KiB, perSecond, SIZES } from './units.ts'

const run = promisify(execFile)

/** The most that TLS 1.2 and 1.3 encrypt at a time: a record (RFC 5246, section 6.2.1; RFC 8446, section 5.1). */
const RECORD = 16 * KiB

export interface CipherSpeed {
  /** As OpenSSL names it, without what belongs to the handshake. */
  readonly cipher: string
  /** The program's, which need not be that of Node. */
  readonly version?: string
  /** One for each size. */
  readonly words?: readonly string[]
  /** Why there is no measurement. */
  readonly missing?: string
}

/** The cipher that a connection to the peer agrees on, with the name that `openssl speed -evp` takes. */
export async function negotiatedCipher(port: number): Promise<string> {
  const socket = await connect(port, { ask: 'echo' }, 'TLSv1.2')
  const { name } = socket.getCipher()
  socket.destroy()
  return evpName(name)
}

/** From OpenSSL's name of a cipher suite, as ECDHE-RSA-AES128-GCM-SHA256 or TLS_AES_256_GCM_SHA384. */
export function evpName(suite: string): string {
  const aes = /AES_?(128|256)[-_](GCM|CCM)/.exec(suite)
  if (aes) return `aes-${aes[1]}-${aes[2]?.toLowerCase()}`
  if (/CHACHA20[-_]POLY1305/.test(suite)) return 'chacha20-poly1305'
  throw new RangeError(`No name of a cipher is known for ${suite}`)
}

/** The speed of the program `openssl`, in one thread, with a message for each chunk; a larger chunk is several records. */
export async function cipherSpeed(cipher: string, program = 'openssl'): Promise<CipherSpeed> {
  try {
    const { stdout: version } = await run(program, ['version'])
    const known = new Map<number, string>()
    for (const [, chunk] of SIZES) {
      const bytes = Math.min(chunk, RECORD)
      if (!known.has(bytes)) known.set(bytes, perSecond((await speedOf(program, cipher, bytes)) / 1000))
    }
    const words = SIZES.map(([, chunk]) => known.get(Math.min(chunk, RECORD)) ?? '')
    return { cipher, version: version.split(' ', 2).join(' '), words }
  } catch (error) {
    return { cipher, missing: error instanceof Error ? (error.message.split('\n', 1)[0] ?? '') : `${error}` }
  }
}

/** Bytes per second. */
async function speedOf(program: string, cipher: string, bytes: number): Promise<number> {
  // -aead: with a tag and additional data for each message, as a record has them.
  const args = ['speed', '-mr', '-seconds', '1', '-bytes', `${bytes}`, '-aead', '-evp', cipher]
  const { stdout } = await run(program, args)
  return parseSpeed(stdout)
}

/** From what `openssl speed -mr` prints, whose last line is +F:<number>:<cipher>:<bytes per second>. */
export function parseSpeed(printed: string): number {
  const [, value] = /^\+F:\d+:[^:]+:([\d.]+)$/m.exec(printed) ?? []
  if (value === undefined) throw new Error('openssl speed has printed no result')
  return Number(value)
}

/** As Markdown: the plain socket, and what limits it, a column for each size. */
export function floorTable(sending: readonly Row[], reading: readonly Row[], { ...speed }: CipherSpeed): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  const cells = (rows: readonly Row[], contender: 'plain' | 'tcp') => rows.map(({ words }) => words[contender] ?? '')
  return [
    'What the machine can do at most:\n',
    line(['', ...SIZES.map(([size]) => size)]),
    line(['---', ...SIZES.map(() => '--:')]),
    line(['plain tls.TLSSocket, sending', ...cells(sending, 'plain')]),
    line(['raw TCP on loopback, sending', ...cells(sending, 'tcp')]),
    line(['plain tls.TLSSocket, reading', ...cells(reading, 'plain')]),
    line(['raw TCP on loopback, reading', ...cells(reading, 'tcp')]),
    line([cipherName(speed), ...SIZES.map((_, at) => speed.words?.[at] ?? '')]),
    '',
  ].join('\n')
}

export function cipherName({ cipher, version, missing }: CipherSpeed): string {
  const name = `\`openssl speed -evp ${cipher}\``
  return missing === undefined ? `${name}, one core, ${version}` : `${name}: not measured (${missing})`
}
