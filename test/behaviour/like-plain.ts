import type tls from 'node:tls'
import { connect, createServer, wrapTLSSocket } from '../../src/index.ts'
import { playLikePlain } from '../fixtures/like-plain.ts'
import { type Kit, plain } from '../fixtures/scene.ts'

const ours: Kit = { ...plain, connect: connect as typeof tls.connect, createServer, wrap: wrapTLSSocket }

playLikePlain('this package', ours, ({ differs }) => [differs])
