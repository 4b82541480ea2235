import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { ffiArguments } from '../fixtures/ffi-arguments.ts'

/* A process ends in the middle of a flood over OpenSSL. Native code must neither crash nor print anything. */

const program = fileURLToPath(new URL('../fixtures/openssl-sudden-end.js', import.meta.url))

/** How it ends, with which version of TLS, and the exit code or signal. */
const ends = [
  ['exit', 'TLSv1.3', 7],
  ['exit in a callback', 'TLSv1.3', 7],
  ['throw', 'TLSv1.2', 1],
  ['SIGTERM', 'TLSv1.2', 'SIGTERM'],
] as const

const describe = {
  exit: 'process.exit() in the middle of a flood ends the process with its code',
  'exit in a callback': 'process.exit() inside a callback of OpenSSL ends the process with its code',
  throw: 'an exception in the middle of a flood ends the process with code 1',
  SIGTERM: 'SIGTERM in the middle of a flood ends the process by that signal',
}

t.setTimeout(300_000)

for (const [ffi, args] of ffiArguments) {
  for (const [how, version, expected] of ends) {
    t.test(`${describe[how]} (${version}, ${ffi})`, async (t) => {
      const child = spawn(process.execPath, [...args, program, how, version, ffi])
      t.teardown(() => void child.kill('SIGKILL'))
      if (how === 'SIGTERM') child.stdout.once('data', () => child.kill())
      const [[code, signal], out, errors] = await Promise.all([
        once(child, 'close'),
        text(child.stdout),
        text(child.stderr),
      ])
      t.equal(code ?? signal, expected)
      t.equal(out, how === 'SIGTERM' ? 'ready\n' : '')
      if (how === 'throw')
        t.match(errors, /^(?:file:)?\S+:\d+\n[\s\S]*\nError: of the test\n[\s\S]*\nNode\.js v[\d.]+\n$/)
      else t.equal(errors, '')
    })
  }
}
