import type tls from 'node:tls'
import t from 'tap'
import { connect, createSecureContext, createServer } from '../../src/openssl/index.ts'
import { playLikePlain } from '../fixtures/like-plain.ts'
import { type Kit, plain } from '../fixtures/scene.ts'

t.setTimeout(600_000)

const ours: Kit = {
  ...plain,
  connect: connect as typeof tls.connect,
  createServer: createServer as typeof tls.createServer,
  createSecureContext: createSecureContext as unknown as typeof tls.createSecureContext,
}

playLikePlain('this package over OpenSSL', ours, ({ differs, overOpenSSL = [] }) => [differs, ...overOpenSSL])
