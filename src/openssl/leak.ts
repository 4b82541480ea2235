import type { Connection } from './connection.ts'

/** Frees the connection of an engine that was dropped without destroy(). */
const leaks = new FinalizationRegistry((connection: Connection) => {
  connection.free()
  warn()
})

let warned = false

/** Watches an engine. `connection` must not hold the engine. */
export function watchForLeak(engine: object, connection: Connection): void {
  leaks.register(engine, connection, connection)
}

/** The engine was destroyed. */
export function noLeak(connection: Connection): void {
  leaks.unregister(connection)
}

function warn(): void {
  if (warned) return
  warned = true
  process.emitWarning(
    'A TLS engine was garbage-collected without destroy(). Its memory in OpenSSL was freed only now',
    {
      code: 'RENEGOTIATION_OPENSSL_LEAK',
    },
  )
}
