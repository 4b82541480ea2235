import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

/*
 * Loads the modules that are needed later, or perhaps never. Loading everything at the start would add about 60 ms to
 * the start of each process. `require()` of an ES module is synchronous, as `tls.connect()` is.
 */
/** @throws Error if this Node.js was told not to `require()` ES modules. */
export function mustRequireModules(): void {
  if (process.features.require_module !== false) return
  throw new Error('node:tls cannot be guarded with --no-experimental-require-module')
}

function load(path: string): unknown {
  mustRequireModules()
  // Here and not at the top: a program that is bundled as CommonJS has no import.meta.url, and may not use the guard.
  return createRequire(import.meta.url)(fileURLToPath(new URL(path, import.meta.url)))
}

/** The modules for connections. */
export type Machine = typeof import('./machine.ts')

let loaded: Machine | undefined
let hasWarned = false

/**
 * Undefined, with one warning, if it cannot be loaded. That happens if the files are gone, and on Node 20 if the program
 * is importing one of the same modules at this moment, for example p-queue.
 */
export function machine(): Machine | undefined {
  try {
    loaded ??= load('./machine.js') as Machine
  } catch (error) {
    if (!hasWarned) warnOfFailure(error as Error)
  }
  return loaded
}

function warnOfFailure(error: Error): void {
  hasWarned = true
  process.emitWarning(`TLS connections are not guarded: ${error.message}`, {
    type: 'RenegotiationWarning',
    code: 'RENEGOTIATION_NOT_LOADED',
  })
}

/** Undefined until the first connection. */
export function machineIfLoaded(): Machine | undefined {
  return loaded
}

/** What reads options from environment variables. */
export function environment(): typeof import('./environment.ts') {
  return load('./environment.js') as typeof import('./environment.ts')
}

/** What checks options. */
export function options(): typeof import('./options.ts') {
  return load('./options.js') as typeof import('./options.ts')
}

/** What writes the report. */
export function report(): typeof import('./report.ts') {
  return load('./report.js') as typeof import('./report.ts')
}
