/*
 * TLS 1.2 and 1.3 by OpenSSL, with the functions of node:tls. In TLS 1.3, renegotiate() updates the keys, or asks a client
 * for its certificate.
 */
import type { OpenSSL } from './binding.ts'
import { type ContextOptions, createSecureContext as createContext } from './context.ts'
import { isAvailable, loadOpenSSL, type OpenSSLOptions } from './library.ts'
import type { SecureContext } from './secure-context.ts'

export { connect, type OpenSSLConnectionOptions } from './connect.ts'
export { createServer, type OpenSSLServer, type OpenSSLServerOptions } from './server.ts'
export { type ContextOptions, isAvailable, type OpenSSL, type OpenSSLOptions, type SecureContext }

/**
 * Makes a secure context for `secureContext`, `addContext()` and `SNICallback`, with the options and errors of
 * `tls.createSecureContext()`. An option that is not supported is a TypeError that names it.
 */
export function createSecureContext(options: ContextOptions & { openssl?: OpenSSLOptions } = {}): SecureContext {
  return createContext(loadOpenSSL(options.openssl), options)
}
