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

t.equal(programs.length, 5, 'docs/upstream has five programs')

// Each program says whether this release of Node has a defect. The test checks only that it says so in the right form.
for (const program of programs) {
  t.test(`${program} prints whether this release of Node has the defect`, async (t) => {
    // In another directory, because a crash may leave a file behind.
    const child = spawn(process.execPath, [join(directory, program)], { cwd: tmpdir() })
    const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')])
    t.equal(stderr, '')
    const verdict = stdout.trim().split('\n').at(-1)
    if (code === 0) t.match(verdict, /^DEFECT: .* \(.*Node v\d+/)
    else t.match({ code, verdict }, { code: 1, verdict: /^no defect: .* \(Node v\d+/ })
    t.comment(verdict)
  })
}
