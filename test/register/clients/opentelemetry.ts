import { fileURLToPath, pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { HOOK, pathOf, program } from '../../fixtures/program.ts'
import type { TracedResult } from '../../fixtures/programs/traced-exchange.ts'

/** Checks the data, the certificates, the spans and the counts of a program that makes one connection. */
async function check(t: Test, name: string, args: readonly string[], imports?: readonly string[]): Promise<void> {
  const traced = program(t, name, {
    hook: false,
    before: args,
    input: { imports },
    env: { RENEGOTIATION_REPORT: '1' },
  })
  const { exchanges, spans } = await traced.told<TracedResult>()
  t.equal(exchanges.length, 2)
  for (const { sent, received, server } of exchanges) {
    t.strictSame(server, { client: 'client', received: sent, sent: received })
  }
  const [SERVER, CLIENT] = [1, 2]
  t.strictSame(spans.map(({ kind }) => kind).sort(), [SERVER, SERVER, CLIENT, CLIENT], 'two spans for each request')
  t.equal(new Set(spans.map(({ traceId }) => traceId)).size, 2, 'which belong to the same trace')
  const { stderr } = await traced.ended
  // Each end counts the two renegotiations.
  const report = 'renegotiation-duplex: 2 sockets guarded, 0 left alone, 4 renegotiations, 0 failed'
  t.strictSame(stderr.match(/^renegotiation-duplex: .*$/gm), [report])
}

t.setTimeout(300_000)
const setup = pathOf('opentelemetry.cjs')
const hookPath = fileURLToPath(HOOK)
const mains = { 'a CommonJS module': 'traced-commonjs.cjs', 'an ES module': 'traced-module' }

for (const [what, main] of Object.entries(mains)) {
  // OpenTelemetry changes https when it is loaded. An exporter of spans that uses https loads it before the program does.
  for (const isLoaded of [false, true]) {
    const when = isLoaded ? 'which loads https at once' : 'which does not load https'
    const required = ['--require', setup, ...(isLoaded ? ['--require', 'node:https'] : [])]
    const imported = ['--import', setup, ...(isLoaded ? ['--import', 'node:https'] : [])]
    const orders: Record<string, string[]> = {
      [`after OpenTelemetry, which is required and ${when}`]: [...required, '--import', HOOK],
      [`by --require after OpenTelemetry, ${when}`]: [...required, '--require', hookPath],
      [`by --require before OpenTelemetry, ${when}`]: ['--require', hookPath, ...required],
      [`by --import after OpenTelemetry, ${when}`]: [...imported, '--import', HOOK],
      [`by --import before OpenTelemetry, ${when}`]: ['--import', HOOK, ...imported],
    }
    for (const [order, args] of Object.entries(orders)) {
      // Not because of the hook: it does so with each ES module that imports another.
      const skip =
        args.includes(hookPath) &&
        process.version.startsWith('v22.') &&
        'Node 22 cannot load an ES module with --require if a program uses module.register()'
      t.test(`if the hook is loaded ${order}, ${what} is guarded and traced`, { skip }, (t) => check(t, main, args))
    }
    const [first, last] = [pathToFileURL(setup).href, pathToFileURL(pathOf(main)).href]
    const tracing = [first, ...(isLoaded ? ['node:https'] : [])]
    t.test(`if a program imports the hook after OpenTelemetry, ${when}, ${what} is guarded and traced`, (t) =>
      check(t, 'import-in-order', [], [...tracing, HOOK, last]),
    )
    t.test(`if a program imports the hook before OpenTelemetry, ${when}, ${what} is guarded and traced`, (t) =>
      check(t, 'import-in-order', [], [HOOK, ...tracing, last]),
    )
  }
}

// The hooks of OpenTelemetry for ES modules copy the exports of a module when it is first imported.
for (const [order, args] of Object.entries({ after: [setup, HOOK], before: [HOOK, setup] })) {
  t.test(`if the hook is loaded ${order} OpenTelemetry, connect() imported by its name is guarded`, async (t) => {
    const named = program(t, 'named-imports', {
      hook: false,
      before: args.flatMap((module) => ['--import', module]),
      env: { RENEGOTIATION_REPORT: '1' },
    })
    t.equal(await named.told(), 'renegotiated')
    const { stderr } = await named.ended
    t.match(stderr, 'renegotiation-duplex: 2 sockets guarded, 0 left alone, 2 renegotiations, 0 failed\n')
  })
}
