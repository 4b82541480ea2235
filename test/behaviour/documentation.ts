/*
 * Checks that the documentation agrees with the code.
 *
 * Each ```js block of README.md and docs/*.md runs as it is printed, as a module in a process of its own, and fails if it
 * throws or writes to stderr. Only addresses are replaced: the package is the build, `plant.example` with port 8883 is
 * an echo server on loopback, and port 8443 is a free one. The working directory has the files that the blocks read:
 * key.pem, cert.pem and ca.pem for a server, client-key.pem and client-cert.pem for its client. NODE_EXTRA_CA_CERTS makes
 * the authority of these certificates one that Node trusts.
 *
 * - A block that connects to port 8883 must survive a renegotiation that the server begins when the block has run to
 *   its end. Then the server ends the connection, and the process of the block must end by itself.
 * - A block that listens on 8443 gets a client with a certificate, which must get an answer. Then it is killed.
 * - Any other block must end by itself.
 *
 * Each ```ts block is compiled with the options of this repository.
 */
import { type ChildProcess, execFile, fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import https from 'node:https'
import { dirname, join, resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { transitions } from '../../src/core/state.ts'
import * as api from '../../src/index.ts'
import * as openssl from '../../src/openssl/index.ts'
import { freePort } from '../fixtures/free-port.ts'
import * as pki from '../fixtures/pki.ts'
import { Plant } from '../fixtures/plant.ts'
import { stacks } from '../fixtures/stacks.ts'
import { cells, stacksTLS13 } from '../fixtures/stacks-tls13.ts'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const built = new URL('../../', import.meta.url)
const runner = fileURLToPath(new URL('../fixtures/run-code-block.js', import.meta.url))

const guides = readdirSync(join(root, 'docs'))
  .filter((name) => name.endsWith('.md'))
  .map((name) => `docs/${name}`)
const pages = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md', ...guides]

const read = (page: string): string => readFileSync(join(root, page), 'utf8')

interface Block {
  /** Page, line and the heading above. */
  readonly name: string
  readonly language: string
  readonly code: string
}

const blocks = pages.flatMap(codeBlocks)
const written = (language: string): Block[] => blocks.filter((block) => block.language === language)

/** The modules that the blocks import, and the files that they get instead. */
const modules: readonly (readonly [name: string, path: string])[] = [
  ['renegotiation-duplex/compliance', 'src/compliance/index.js'],
  ['renegotiation-duplex/openssl', 'src/openssl/index.js'],
  ['renegotiation-duplex', 'src/index.js'],
  // In transports.md, this is the cipher of the example.
  ['./cipher-stream.js', 'examples/cipher-rekey/cipher-stream.js'],
]

t.ok(written('js').length >= 15, 'the documentation has at least 15 js blocks')

for (const block of written('js')) {
  t.test(`the js block at ${block.name} runs without an error`, async (t) => {
    const directory = t.testdir({
      'key.pem': pki.server.key,
      'cert.pem': pki.server.cert,
      'ca.pem': pki.ca,
      'client-key.pem': pki.client.key,
      'client-cert.pem': pki.client.cert,
    })
    const plant = await Plant.open(t)
    const listens = block.code.includes('listen(8443)')
    const port = listens ? await freePort() : 0
    const file = join(directory, 'block.mjs')
    writeFileSync(file, atLoopback(block.code, plant.port, port))
    const child = fork(runner, [file], {
      cwd: directory,
      env: { ...process.env, NODE_EXTRA_CA_CERTS: join(directory, 'ca.pem'), NODE_DEBUG: '' },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    t.teardown(() => child.kill('SIGKILL'))
    const outputs = Promise.all([child.stdout, child.stderr].map((stream) => text(stream as NodeJS.ReadableStream)))
    const exited = once(child, 'exit')
    // A block that throws sends no message. Its exit code and stderr show the error.
    if (await hasRun(child)) {
      if (block.code.includes('8883')) await plant.renegotiateAndEnd()
      if (listens) {
        const isOpenSSL = block.code.includes('renegotiation-duplex/openssl')
        await t.resolves(visit(port, block.code.includes('node:http'), isOpenSSL), 'the server answers')
        child.kill('SIGKILL')
      }
    }
    const [code] = await exited
    const [stdout, stderr] = await outputs
    const fine = t.equal(stderr, '', 'nothing is written to stderr')
    if (!t.equal(code, listens ? null : 0, 'the process ends with the expected exit code') || !fine) t.comment(stdout)
  })
}

t.test('all ts blocks of the documentation compile', async (t) => {
  const sources = written('ts')
  t.ok(sources.length > 0)
  const directory = t.testdir({
    'tsconfig.json': JSON.stringify({
      extends: join(root, 'tsconfig.json'),
      compilerOptions: {
        typeRoots: [join(root, 'node_modules/@types')],
        paths: {
          'renegotiation-duplex': [join(root, 'src/index.ts')],
          'renegotiation-duplex/compliance': [join(root, 'src/compliance/index.ts')],
          'renegotiation-duplex/openssl': [join(root, 'src/openssl/index.ts')],
        },
      },
      include: ['*.ts'],
    }),
    'package.json': JSON.stringify({ type: 'module' }),
    ...Object.fromEntries(sources.map(({ code }, index) => [`block-${index}.ts`, code])),
  })
  // Not bin/tsc, which has no extension: tap's loader would take it for CommonJS.
  const tsc = join(root, 'node_modules/typescript/lib/tsc.js')
  await promisify(execFile)(process.execPath, [tsc, '-p', directory]).catch((error) => {
    t.fail(`${error.message}${error.stdout}`)
  })
})

t.test('every code block is in one of the languages js, ts, sh, text and mermaid', async (t) => {
  const checked = ['js', 'ts', 'sh', 'text', 'mermaid']
  t.strictSame(
    blocks.filter(({ language }) => !checked.includes(language)).map(({ name, language }) => [name, language]),
    [],
  )
})

t.test('every npm script and file that the sh blocks name exists', async (t) => {
  const { scripts } = JSON.parse(read('package.json'))
  for (const { name, code } of written('sh')) {
    for (const [, script] of code.matchAll(/\bnpm run ([\w:]+)/g))
      t.ok(script && script in scripts, `${name}: ${script}`)
    for (const [, path] of code.matchAll(/ ((?:test|scripts)\/[\w/-]+\.m?[jt]s)\b/g)) {
      t.ok(existsSync(join(root, path as string)), `${name}: ${path}`)
    }
  }
})

t.test('sequence diagrams use only the participants that they declare', async (t) => {
  const diagrams = written('mermaid').filter(({ code }) => code.startsWith('sequenceDiagram\n'))
  t.ok(diagrams.length >= 2)
  for (const { name, code } of diagrams) {
    const participants = [...code.matchAll(/^ {2}participant (\w+)/gm)].map(([, who]) => who)
    for (const line of code.trim().split('\n').slice(1)) {
      const said =
        /^ {2}(\w+)--?>>(\w+): .+$/.exec(line) ?? /^ {2}Note (?:over|left of|right of) (\w+)(?:,(\w+))?: .+$/.exec(line)
      const parties = said?.slice(1).filter((who) => who !== undefined)
      t.ok(
        /^ {2}participant \w+ as .+$/.test(line) || parties?.every((who) => participants.includes(who)),
        `${name}: ${line}`,
      )
    }
  }
})

t.test('the state diagram shows all transitions between different states, except those to closed', async (t) => {
  const drawn = [...read('docs/design.md').matchAll(/^ {2}(\w+) --> (\w+): /gm)].map(([, from, to]) => `${from} ${to}`)
  const inTable = Object.entries(transitions).flatMap(([from, triggers]) =>
    Object.values(triggers).map((to) => `${from} ${to}`),
  )
  const moves = (all: string[]) => [...new Set(all.filter((move) => !/(\w+) \1|closed/.test(move)))].sort()
  t.strictSame(moves(drawn), moves(inTable))
})

t.test('every link leads to an existing file, and to an existing heading if it names one', async (t) => {
  for (const page of pages) {
    for (const [, target = '', anchor] of withoutCode(read(page)).matchAll(
      /\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)/g,
    )) {
      const file = target === '' ? page : join(dirname(page), target)
      t.ok(existsSync(resolve(root, file)), `${page}: ${target}`)
      if (anchor !== undefined) t.ok(anchors(read(file)).includes(anchor), `${page}: ${target}#${anchor}`)
    }
  }
})

t.test('docs/compatibility.md shows for each TLS stack what its tests expect', async (t) => {
  const rows = read('docs/compatibility.md').split('\n')
  for (const [name, { ours }] of Object.entries(stacks)) {
    for (const role of ['client', 'server'] as const) {
      const row = rows.find((row) => row.includes(`<!-- ${name} --> | ${role} |`))
      const cells = row?.split(' | ').slice(2)
      const survives = cells?.map((cell) => cell.startsWith('all 20;'))
      t.same(
        survives,
        [ours[role].we, ours[role].peer, ours[role].both].map((expected) => expected === 'all'),
        `${name}, ${role}`,
      )
    }
  }
})

t.test('docs/compatibility.md shows for each TLS stack what its tests over TLS 1.3 expect', async (t) => {
  const page = read('docs/compatibility.md')
  for (const [name, stack] of Object.entries(stacksTLS13)) {
    for (const role of ['client', 'server'] as const) {
      const row = `<!-- ${name}, TLS 1.3 --> | ${role} | ${cells(stack, role).join(' | ')} |\n`
      t.ok(page.includes(row), row.trim())
    }
  }
})

t.test('README.md has 180 lines at most', async (t) => {
  t.ok(read('README.md').trimEnd().split('\n').length <= 180)
})

t.test('docs/errors.md has exactly one section for each error code', async (t) => {
  // The type is the only list of the codes.
  const [, union = ''] = /export type RenegotiationErrorCode =((?:\s*\| '\w+')+)/.exec(read('src/core/errors.ts')) ?? []
  const codes = [...union.matchAll(/'(\w+)'/g)].map(([, code]) => code)
  const sections = [...read('docs/errors.md').matchAll(/^### `(ERR_RENEGOTIATION_\w+)`$/gm)].map(([, code]) => code)
  t.ok(codes.length > 10)
  t.strictSame(sections.sort(), codes.sort())
})

t.test('docs/api.md mentions every export, event and counter', async (t) => {
  const page = read('docs/api.md')
  const modules = read('src/index.ts') + read('src/openssl/index.ts')
  const lists = [...modules.matchAll(/^export (?:type )?\{([^}]+)\}/gm)].flatMap(([, names = '']) => names.split(','))
  const exported = [...lists, ...[...modules.matchAll(/^export function (\w+)/gm)].map(([, name = '']) => name)]
  const names = exported.map((name) => name.trim().replace(/^type /, '')).filter((name) => name !== '')
  t.ok([...Object.keys(api), ...Object.keys(openssl)].every((name) => names.includes(name)))
  t.ok(names.length > 20)
  for (const name of names) t.match(page, new RegExp(`\`${name}\\b`), name)
  const plant = await Plant.open(t)
  const stream = api.connect({ host: 'localhost', port: plant.port, ca: pki.ca })
  const { hold, keys, ...counters } = stream.counters
  for (const name of [...Object.keys(counters), ...Object.keys(hold), ...Object.keys(keys)]) {
    t.match(page, new RegExp(`\`(?:\\w+\\.)?${name}\``), name)
  }
  for (const name of ['renegotiating', 'renegotiated', 'renegotiationFailed']) t.match(page, `\`${name}\``)
  stream.destroy()
})

/** Asks a server of a block for an answer to an HTTP request or to a line. Throws if the answer is wrong. */
async function visit(port: number, isWeb: boolean, isOpenSSL: boolean): Promise<void> {
  const identity = { ca: pki.ca, ...pki.client, servername: 'localhost' }
  if (isWeb) {
    // A client of Node.js does not offer to show its certificate later.
    const over = isOpenSSL
      ? { createConnection: (options: object) => openssl.connect(options) }
      : { agent: false as const }
    const request = https.get({ port, path: '/secret', ...identity, ...over })
    const [response] = await once(request, 'response')
    const body = await text(response)
    if (response.statusCode !== 200 || !body.startsWith('Hello')) throw new Error(`${response.statusCode} ${body}`)
    return
  }
  const stream = api.connect({ port, ...identity })
  stream.write('ping')
  const [answer] = await once(stream, 'data')
  if (String(answer) !== 'ping') throw new Error(`It answers ${answer}`)
  stream.destroy()
}

/** Resolves when the block has run to its end (true), or its process has exited before (false). */
function hasRun(child: ChildProcess): Promise<boolean> {
  return new Promise((resolve) => {
    child.on('message', () => resolve(true))
    child.on('exit', () => resolve(false))
  })
}

function atLoopback(code: string, plantPort: number, port: number): string {
  let local = code
  for (const [name, path] of modules) local = local.replaceAll(`'${name}'`, `'${new URL(path, built)}'`)
  return local
    .replaceAll('plant.example', 'localhost')
    .replaceAll(/\b8883\b/g, String(plantPort))
    .replaceAll(/\b8443\b/g, String(port))
}

function codeBlocks(page: string): Block[] {
  const found: Block[] = []
  let heading = ''
  let open: { language: string; line: number; code: string[] } | undefined
  for (const [index, line] of read(page).split('\n').entries()) {
    const fence = /^```(\w*)/.exec(line)
    if (open === undefined) {
      if (fence) open = { language: fence[1] as string, line: index + 1, code: [] }
      else if (/^#+ /.test(line)) heading = line.replace(/^#+ /, '')
    } else if (fence) {
      const name = `${page}:${open.line} (${heading})`
      found.push({ name, language: open.language, code: `${open.code.join('\n')}\n` })
      open = undefined
    } else {
      open.code.push(line)
    }
  }
  return found
}

function withoutCode(markdown: string): string {
  return markdown.replaceAll(/^```[\s\S]*?^```/gm, '').replaceAll(/`[^`\n]*`/g, '``')
}

/** The names that GitHub gives to headings. */
function anchors(markdown: string): string[] {
  return [...markdown.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  )
}
