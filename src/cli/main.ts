#!/usr/bin/env node
/*
 * The command line: npx renegotiation-duplex. Importing the package does not load it.
 */
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import tls from 'node:tls'
import { Command, InvalidArgumentError, Option } from 'commander'
import yoctoSpinner from 'yocto-spinner'
import type { Range } from '../quantities.ts'
import { bytes, ms, nounOf, time } from './format.ts'
import { type Address, address, chunkSizes, duration, hostAndPort, path, seed, window } from './parse.ts'
import { headline, picture } from './picture.ts'
import { probe, readable } from './probe.ts'
import { probeKeyUpdate, readableKeyUpdate } from './probe-key-update.ts'
import { type SoakOptions, type SoakProgress, soak } from './soak.ts'
import type { TLSVersion } from './soak-messages.ts'

/** Exit codes besides 0. */
const FAILED = 1
const USAGE = 2
const UNKNOWN = 3

/** Milliseconds between two lines of progress if the output is not a terminal, which keeps every line. */
const SPARSE = 10_000

interface ClientOptions {
  readonly servername?: string
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

const { version, description } = createRequire(import.meta.url)('renegotiation-duplex/package.json')

const program = new Command('renegotiation-duplex')
  .description(description)
  .version(version)
  .showHelpAfterError('(see --help)')
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : USAGE))

withClientOptions(
  program
    .command('soak')
    .summary('both ends send without a pause and renegotiate all the while; with a verdict and a picture')
    .description(
      'Tests a connection: two processes send each other data without a pause over TLS, each renegotiates (TLS 1.2) or ' +
        'updates its keys (TLS 1.3) at random moments, and the data that arrives is compared with the data that was sent. Exit codes: 0, no byte was lost; ' +
        '1, the test failed; 2, an argument is wrong. Times without a unit are in seconds, sizes in bytes.',
    )
    .addOption(
      new Option('--duration <time>', 'how long the test runs, such as 90s, 10m or 8h')
        .argParser(duration)
        .default(60_000, '1m'),
    )
    .addOption(tlsOption())
    .addOption(
      new Option('--every <time-time>', 'how long each end waits after a renegotiation or key update, at random')
        .argParser(window)
        .default([7000, 14_000], '7s-14s'),
    )
    .addOption(
      new Option('--chunk <size-size>', 'how much is written at once, at random')
        .argParser(chunkSizes)
        .default([1024, 262_144], '1KiB-256KiB'),
    )
    .addOption(
      new Option('--stall <time>', 'the test fails if no byte is sent or received for that long')
        .argParser(duration)
        .default(60_000, '1m'),
    )
    .option('--seed <number>', 'seed of the random data', seed)
    .option('--json <file>', 'file for the result', 'soak.json')
    .option('--picture <file>', 'file for the picture (SVG)', 'soak.svg')
    .option(
      '--connect <host:port>',
      'test this TLS server instead of one of this command; a server on Node.js needs a peerLimit above 3 in 10 minutes',
      address,
    )
    .addOption(
      new Option(
        '--mode <mode>',
        'what that server does with the data; a server that echoes must use this package, too',
      )
        .choices(['echo', 'sink'])
        .default('echo'),
    )
    .option('--insecure', 'accept any certificate', false),
).action(soakCommand)

withClientOptions(
  program
    .command('probe')
    .summary('does this TLS server let its clients renegotiate, or answer key updates?')
    .description(
      'Asks whether a TLS server lets its clients renegotiate, by one TLS connection (1.2 or lower) and one attempt to ' +
        'renegotiate. With --tls 1.3, whether it answers a key update of a client, by one TLS connection (1.3) and one ' +
        'key update. Exit codes: 0, it does; 1, it does not; 2, an argument is wrong; 3, it could not be found out.',
    )
    .argument('<host:port>', 'address of the server', address)
    .option(
      '--http [path]',
      'renegotiate or update keys during an HTTP request for this path, and send another request afterwards',
      path,
    )
    .addOption(
      new Option(
        '--send <text>',
        'the same with this text, for other protocols; \\r and \\n are escapes as in C',
      ).conflicts('http'),
    )
    .addOption(tlsOption())
    .addOption(new Option('--timeout <time>', 'time limit of each step').argParser(duration).default(10_000, '10s'))
    .option('--json', 'print JSON', false),
).action(probeCommand)

await program.parseAsync()

function tlsOption(): Option {
  const needs = '1.3 needs OpenSSL by FFI: npm install koffi'
  return new Option('--tls <version>', `version of TLS; ${needs}`).choices(['1.2', '1.3']).default('1.2')
}

/** Ends the program if TLS 1.3 is asked for and OpenSSL cannot be called. */
async function mustBeAvailable(version: TLSVersion, command: Command): Promise<void> {
  if (version === '1.2') return
  const { loadOpenSSL } = await import('../openssl/library.ts')
  try {
    loadOpenSSL()
  } catch (error) {
    command.error(`error: --tls 1.3: ${(error as Error).message}`)
  }
}

function withClientOptions(command: Command): Command {
  return command
    .option('--servername <name>', 'name in the certificate, if it is not the host')
    .option('--ca <file>', 'certificates to trust (PEM)', pem)
    .option('--cert <file>', 'certificate of the client (PEM)', pem)
    .option('--key <file>', 'private key of that certificate (PEM)', pem)
}

function pem(file: string): string {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message)
  }
  // OpenSSL accepts any file and finds no certificate in it.
  if (!text.includes('-----BEGIN ')) throw new InvalidArgumentError(`${file} has nothing in PEM format.`)
  return text
}

function credentials({ servername, ca, cert, key }: ClientOptions, command: Command) {
  try {
    tls.createSecureContext({ ca, cert, key })
  } catch (error) {
    command.error(`error: --ca, --cert or --key is invalid: ${(error as Error).message}`)
  }
  return { servername, ca, cert, key }
}

/** Also empties the file, so that the result of an earlier run is not mistaken for the result of this one. */
function mustBeWritable(file: string, command: Command): void {
  try {
    closeSync(openSync(file, 'w'))
  } catch (error) {
    command.error(`error: the result can't be written: ${(error as Error).message}`)
  }
}

interface SoakArguments extends ClientOptions {
  readonly tls: TLSVersion
  readonly duration: number
  readonly every: Range
  readonly chunk: Range
  readonly stall: number
  readonly seed?: number
  readonly json: string
  readonly picture: string
  readonly connect?: Address
  readonly mode: 'echo' | 'sink'
  readonly insecure: boolean
}

async function soakCommand(given: SoakArguments, command: Command): Promise<void> {
  const { insecure, connect: to } = given
  if (given.duration <= given.every[1]) {
    const least = time(given.every[1])
    command.error(
      `error: --duration must be more than the ${least} until a renegotiation: without one, nothing is proven`,
    )
  }
  const ofServer = ['mode', 'insecure', 'servername', 'ca', 'cert', 'key'].find(
    (name) => command.getOptionValueSource(name) === 'cli',
  )
  if (to === undefined && ofServer !== undefined) command.error(`error: --${ofServer} goes with --connect`)
  await mustBeAvailable(given.tls, command)
  const options: SoakOptions = {
    tls: given.tls,
    duration: given.duration,
    everyMs: given.every,
    chunkBytes: given.chunk,
    stall: given.stall,
    seed: given.seed ?? Math.floor(Math.random() * 1e6),
    ...(to && { server: { address: to, mode: given.mode, credentials: { ...credentials(given, command), insecure } } }),
  }
  // Checked now, because the files are written only at the end, which may be hours later.
  for (const file of [given.json, given.picture]) mustBeWritable(file, command)
  const early = new AbortController()
  const interrupted = () => early.abort()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, interrupted)
  const spinner = yoctoSpinner({ handleSignals: false, text: 'connecting' }).start()
  const pause = SPARSE * Number(!process.stderr.isTTY)
  let toldAt = -Infinity
  const report = await soak(options, early.signal, (progress) => {
    if (performance.now() - toldAt < pause) return
    toldAt = performance.now()
    spinner.text = progressLine(progress, given)
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, interrupted)
  spinner.stop()
  writeFileSync(given.json, `${JSON.stringify(report, null, 2)}\n`)
  writeFileSync(given.picture, picture(report))
  print(`${report.verdict === 'passed' ? '✔' : '✖'} ${headline(report)}`)
  for (const problem of report.problems) print(`  ${problem}`)
  if (report.verdict === 'failed') process.exitCode = FAILED
  const { toServer, toClient } = report.bytes
  print(`  sent ${bytes(toServer)}, received ${bytes(toClient)}; seed ${options.seed}`)
  const { hold, renegotiations } = report
  const { unanswered } = renegotiations
  if (unanswered > 0) print(`  without an answer in time: ${unanswered} (a peer that only reads may never answer)`)
  for (const [end, held] of Object.entries(hold)) {
    if (held?.count)
      print(`  ${end}: writes held ${held.count} times, ${ms(held.meanMs)} on average, ${ms(held.maxMs)} at most`)
  }
  print(`  ${given.json}, ${given.picture}`)
}

function progressLine({ milliseconds, status }: SoakProgress, { duration, tls }: SoakArguments): string {
  const { sentBytes, receivedBytes, counters } = status
  const rate = (count: number) => `${bytes((count / Math.max(milliseconds, 1)) * 1000)}/s`
  return (
    `${time(milliseconds)} of ${time(duration)}: ${rate(sentBytes)} out, ${rate(receivedBytes)} in, ` +
    `${counters.renegotiations} ${nounOf(tls === '1.3' ? 'key-update' : 'renegotiation')}s, writes held for ${ms(counters.hold.maxMs)} at most`
  )
}

interface ProbeArguments extends ClientOptions {
  readonly tls: TLSVersion
  readonly http?: string | true
  readonly send?: string
  readonly timeout: number
  readonly json: boolean
}

async function probeCommand(to: Address, given: ProbeArguments, command: Command): Promise<void> {
  const { timeout } = given
  const traffic = given.send?.replace(/\\r/g, '\r').replace(/\\n/g, '\n') ?? (given.http && request(to, given.http))
  await mustBeAvailable(given.tls, command)
  const options = { address: to, credentials: credentials(given, command), timeout, traffic }
  if (given.tls === '1.3') {
    const report = await probeKeyUpdate(options)
    print(given.json ? JSON.stringify(report, null, 2) : readableKeyUpdate(report))
    tellResult(report.keyUpdate, 'answered')
  } else {
    const report = await probe(options)
    print(given.json ? JSON.stringify(report, null, 2) : readable(report))
    tellResult(report.clientInitiated, 'allowed')
  }
}

/** Sets the exit code. A result of null could not be found out. */
function tellResult<T>(result: T | null, success: T): void {
  if (result === null) process.exitCode = UNKNOWN
  else if (result !== success) process.exitCode = FAILED
}

function request(to: Address, at: string | true): string {
  return `GET ${at === true ? '/' : at} HTTP/1.1\r\nHost: ${hostAndPort(to)}\r\n\r\n`
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
