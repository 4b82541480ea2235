import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

t.test('engines that were dropped without destroy() are freed, with one warning', async (t) => {
  const program = fileURLToPath(new URL('../fixtures/engine-leak.js', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', program])
  t.same(JSON.parse(stdout), { before: 9, after: 0, warnings: ['RENEGOTIATION_OPENSSL_LEAK'] })
})
