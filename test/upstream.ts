import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const directory = fileURLToPath(new URL('../../docs/upstream/', import.meta.url))
const shared = ['certificates.mjs', 'raw-client.mjs']
const programs = readdirSync(directory).filter((name) => name.endsWith('.mjs') && !shared.includes(name))

t.equal(programs.length, 5)

// Which defects a Node has is its own affair. That a program says so is ours.
for (const program of programs) {
  t.test(`${program} ends with a verdict`, async (t) => {
    // Elsewhere, in case that a crash leaves something behind.
    const child = spawn(process.execPath, [join(directory, program)], { cwd: tmpdir() })
    const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')])
    t.equal(stderr, '')
    const verdict = stdout.trim().split('\n').at(-1)
    if (code === 0) t.match(verdict, /^DEFECT: .* \(.*Node v\d+/)
    else t.match({ code, verdict }, { code: 1, verdict: /^no defect: .* \(Node v\d+/ })
    t.comment(verdict)
  })
}
