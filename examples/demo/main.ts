/*
 * npm run demo [-- <seed>]
 *
 * What TLS renegotiation does to a busy connection, without this package and
 * with it. end.ts is where the package is used; link.ts starts two of those.
 */
import { statSync } from 'node:fs'
import { type Link, runLink } from './link.ts'
import { problemsOfPlain, problemsOfWrapped, progressLine, table } from './report.ts'
import { bytes, paint, print, printProgress, printTable } from './screen.ts'

const file = process.execPath
const fileBytes = statSync(file).size
const seed = Number.parseInt(process.argv[2] ?? '', 10) || 1 + Math.floor(Math.random() * 999_999)

print(paint('bold', 'Two processes send each other a file over TLS 1.2, at full speed, and renegotiate all the while.'))
print(`  file   ${file}, ${bytes(fileBytes)}: again and again, both ways at once`)
print(`  when   either end 20 to 80 ms after its last time, at random; seed ${seed} (again: npm run demo -- ${seed})`)
print(`  Node   ${process.versions.node}, OpenSSL ${process.versions.openssl}`)
print()

print(paint('bold', '1. plain: the tls.TLSSocket as it is'))
const plain = await run({ wrapped: false, seconds: 5, renegotiations: 0, deadlineSeconds: 12 })
print(paint('bold', '2. wrapped: the same through wrapTLSSocket(socket)'))
const wrapped = await run({ wrapped: true, seconds: 10, renegotiations: 50, deadlineSeconds: 40 })

printTable(['', 'plain', 'wrapped'], table([plain, wrapped], fileBytes))
print()

const problems = [...problemsOfPlain(plain), ...problemsOfWrapped(wrapped)]
for (const problem of problems) print(paint('red', `✗ ${problem}`))
if (problems.length === 0) {
  print(paint('green', '✓ All is well: the plain connection was lost, the wrapped one came through, byte for byte.'))
}
process.exitCode = problems.length === 0 ? 0 : 1

async function run(options: {
  wrapped: boolean
  seconds: number
  renegotiations: number
  deadlineSeconds: number
}): Promise<Link> {
  const onStatus = (link: Link) => printProgress(progressLine(link))
  const link = await runLink({ ...options, file, seed, onStatus })
  print(progressLine(link))
  for (const { role, outcome } of [link.client, link.server]) {
    if (outcome?.error !== undefined) print(paint('red', `  ${role}: ${outcome.error}`))
  }
  print()
  return link
}
