import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { TLSSocket } from 'node:tls'
import t from 'tap'
import {
  certificatePolicy,
  handleOf,
  hasBegunAnother,
  isSecured,
  isSecurePending,
  isServer,
  keepTimeout,
  mendJavaScriptStream,
  offersOnlyHTTP2,
  onHandshakes,
  onHiddenErrors,
  readsIntoBuffer,
  renegotiationDisabled,
  requestedName,
  restoreCertificatePolicy,
  socketsBelow,
  strandedBytes,
  suspendNagle,
  ticketContexts,
  verifyError,
} from '../../src/transports/node-internals.ts'
import { tlsPair } from '../fixtures/tls-pair.ts'

t.test('this Node has every private part of sockets that is used', async (t) => {
  const { client, server } = await tlsPair(t)
  for (const socket of [client, server]) {
    t.match(socket, {
      _handle: {
        onhandshakestart: Function,
        setNoDelay: Function,
        setVerifyMode: Function,
        verifyError: Function,
        _secureContext: { context: { getTicketKeys: Function, setTicketKeys: Function } },
        _parent: { writeQueueSize: Number },
        writeQueueSize: Number,
      },
      _requestCert: Boolean,
      _controlReleased: true,
      _rejectUnauthorized: Boolean,
      _tlsOptions: Object,
    })
    for (const description of ['kSetNoDelay', 'kBuffer']) {
      t.ok(Object.getOwnPropertySymbols(socket).some((symbol) => symbol.description === description))
    }
    socket.disableRenegotiation()
    t.equal(renegotiationDisabled(socket), true)
  }
  t.match(server, { _handle: { lastHandshakeTime: Number } })
  t.same([isServer(client), isServer(server)], [false, true])
})

t.test('onHandshakes() reports each handshake that begins or ends, until it is removed', async (t) => {
  const { client, server } = await tlsPair(t)
  client.resume()
  server.resume()
  const starts: string[] = []
  const ends: string[] = []
  const watch = (socket: TLSSocket, name: string) =>
    onHandshakes(
      socket,
      () => starts.push(name),
      () => ends.push(name),
    )
  const removeClient = watch(client, 'client')
  const removeServer = watch(server, 'server')
  server.renegotiate({}, () => {})
  await Promise.all([once(client, 'secure'), once(server, 'secure')])
  t.same(starts, ['server', 'client', 'server'], "a server's own handshake is reported twice")
  t.same(ends.sort(), ['client', 'server'])
  removeClient?.()
  removeServer?.()
  client.renegotiate({}, () => {})
  await Promise.all([once(client, 'secure'), once(server, 'secure')])
  t.equal(starts.length, 3)
  t.equal(ends.length, 2)
})

t.test('below a TLS socket on a Duplex in JavaScript, this Node has every private part that is used', async (t) => {
  const socket = new TLSSocket(new PassThrough())
  const { _handle: handle } = socket as unknown as { _handle: { _parentWrap: object } }
  t.equal(handle._parentWrap.constructor.name, 'JSStreamSocket')
  t.match(handle._parentWrap, { doWrite: Function, _handle: { finishWrite: Function } })
  t.equal(mendJavaScriptStream(socket), true)
  socket.destroy()
})

t.test('removing our hook does not overwrite a hook that somebody else has installed', async (t) => {
  const { client } = await tlsPair(t)
  const { _handle: handle } = client as unknown as { _handle: Record<string, unknown> }
  const remove = onHandshakes(
    client,
    () => {},
    () => {},
  )
  const theirs = () => {}
  handle['onhandshakestart'] = handle['onhandshakedone'] = theirs
  remove?.()
  t.equal(handle['onhandshakestart'], theirs)
  t.equal(handle['onhandshakedone'], theirs)
})

t.test('without any private part of Node, every function returns a safe default', (t) => {
  for (const nothing of [{}, { _handle: null }, { _handle: {} }]) {
    const socket = { authorized: true, ...nothing } as unknown as TLSSocket
    t.equal(onHandshakes(socket, t.fail, t.fail), undefined)
    t.equal(hasBegunAnother(socket), false)
    const finished = { getFinished: () => Buffer.of(1), getPeerFinished: () => Buffer.of(2) }
    t.equal(isSecured({ ...socket, ...finished } as unknown as TLSSocket), true)
    t.equal(isSecured({ ...socket, ...finished, getPeerFinished: () => undefined } as unknown as TLSSocket), false)
    t.equal(isSecured({ ...socket, getFinished: () => undefined } as unknown as TLSSocket), false)
    t.equal(isSecurePending(socket), false)
    t.equal(requestedName(socket), undefined)
    t.same(ticketContexts(socket), [])
    t.equal(renegotiationDisabled(socket), false)
    t.equal(isServer(socket), false)
    t.equal(handleOf(socket), nothing._handle ?? null)
    t.equal(offersOnlyHTTP2(socket), false)
    t.same(socketsBelow(socket), [])
    t.equal(strandedBytes(socket), 0)
    onHiddenErrors(socket, t.fail)
    t.equal(certificatePolicy(socket), undefined)
    t.equal(verifyError(socket), null)
    t.equal(keepTimeout(socket), false)
    t.equal(mendJavaScriptStream(socket), true)
    t.equal(readsIntoBuffer(socket), false)
    suspendNagle(socket, true)
    restoreCertificatePolicy(socket, { requestCert: true, rejectUnauthorized: true }, false)
  }
  t.end()
})

t.test('strandedBytes() counts what the socket keeps while the handle at the bottom has nothing to send', async (t) => {
  const tcp = { writeQueueSize: 0 }
  const tlsBelow = { writeQueueSize: 50, _parent: tcp }
  const stranded = (_handle: object) => strandedBytes({ _handle } as unknown as TLSSocket)
  t.equal(stranded({ writeQueueSize: 29, _parent: tcp }), 29)
  t.equal(stranded({ writeQueueSize: 29, _parent: tlsBelow }), 29)
  t.equal(stranded({ writeQueueSize: 29, _parent: {} }), 0, 'a stream in JavaScript below')
  t.equal(stranded({ writeQueueSize: 29 }), 0, 'without the private _parent')
  t.equal(stranded({ _parent: tcp }), 0, 'without the private writeQueueSize')
  tcp.writeQueueSize = 1
  t.equal(stranded({ writeQueueSize: 29, _parent: tcp }), 0)
  t.equal(stranded({ writeQueueSize: 29, _parent: tlsBelow }), 0)
})

t.test('mendJavaScriptStream() returns false if a private part is missing', (t) => {
  class JSStreamSocket {
    doWrite: unknown
    _handle: unknown
  }
  for (const parts of [{}, { doWrite() {} }, { doWrite() {}, _handle: {} }, { _handle: { finishWrite() {} } }]) {
    const socket = { _handle: { _parentWrap: Object.assign(new JSStreamSocket(), parts) } }
    t.equal(mendJavaScriptStream(socket as unknown as TLSSocket), false)
  }
  t.end()
})

t.test('without the private verifyError(), authorized and authorizationError are used', (t) => {
  const why = new Error('expired')
  t.equal(verifyError({ authorized: false, authorizationError: why } as unknown as TLSSocket), why)
  t.match(verifyError({ authorized: false } as unknown as TLSSocket), { message: /not verified/ })
  t.end()
})

t.test('suspendNagle() also respects setNoDelay() of the parent socket', (t) => {
  const set = t.captureFn((_enable: boolean) => {})
  const parent = { [Symbol('kSetNoDelay')]: true }
  const socket = { _handle: { setNoDelay: set }, _parent: parent, [Symbol('kSetNoDelay')]: false }
  suspendNagle(socket as unknown as TLSSocket, false)
  t.same(set.args(), [[true]])
  t.end()
})
