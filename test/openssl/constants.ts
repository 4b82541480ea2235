import { spawnSync } from 'node:child_process'
import crypto from 'node:crypto'
import { join } from 'node:path'
import t from 'tap'
import * as constants from '../../src/openssl/constants.ts'

/** Compiles and runs a C program with the headers of OpenSSL. Undefined without a compiler or the headers. */
function run(directory: string, statements: string): string | undefined {
  const program = `
    #include <stdio.h>
    #include <openssl/err.h>
    #include <openssl/ssl.h>
    int main(void) { ${statements} }`
  const output = join(directory, 'constants')
  const { status } = spawnSync('cc', ['-x', 'c', '-', '-o', output], { input: program })
  return status === 0 ? spawnSync(output, { encoding: 'utf8' }).stdout : undefined
}

const named = Object.entries(constants)

t.test('all are numbers', async (t) => {
  for (const [name, value] of named) t.type(value, 'number', name)
})

t.test('those that Node does not have are as in the headers of OpenSSL', async (t) => {
  const directory = t.testdir()
  if (run(directory, '') === undefined) {
    t.pass('there is no C compiler, or no header files of OpenSSL')
    return
  }
  // Those of Node, such as SSL_OP_ALL, differ from version to version.
  const own = named.filter(([name]) => !(name in crypto.constants))
  const output = run(directory, own.map(([name]) => `printf("%lld\\n", (long long) (${name}));`).join('\n'))
  const values = output?.trim().split('\n').map(Number)
  for (const [index, [name, value]] of own.entries()) t.equal(value, values?.[index], name)
})
