import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import type tls from 'node:tls'
import { createTransport } from 'nodemailer'
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'
import t, { type Test } from 'tap'
import type { RenegotiationTLSSocket } from '../../src/index.ts'
import { client as known } from '../fixtures/pki.ts'
import { body, connector, hashOf, listen, RENEGOTIATIONS_PER_BODY, Renegotiations } from '../fixtures/web.ts'

/** Starts an SMTP server, and a pool of one connection to it, both on streams of this package. */
async function mail(t: Test, options: SMTPServerOptions, identity: tls.SecureContextOptions = {}) {
  // `secured` means that the connection is encrypted already.
  const smtp = new SMTPServer({ secure: true, secured: true, logger: false, ...options })
  smtp.on('error', () => {})
  const { port, sockets } = await listen(t, {}, (socket) => smtp.server.emit('connection', socket))
  const client = connector(t, identity)
  const transport = createTransport({
    pool: true,
    maxConnections: 1,
    secure: true,
    getSocket(_options: unknown, callback: (error: Error | null, socket?: object) => void) {
      const connection = client.connect(port)
      connection.once('secureConnect', () => callback(null, { connection, secured: true }))
    },
  } as Parameters<typeof createTransport>[0])
  t.teardown(() => transport.close())
  return { transport, sockets, clientSockets: client.sockets }
}

/** The hash of a body as the server receives it: SMTP adds the end of the last line. */
const expected = await hashOf([...body(), Buffer.from('\r\n')])

const envelope = { from: 'us@localhost', to: 'them@localhost' }

t.test('nodemailer sends three messages of 4 MB on one connection while both ends renegotiate', async (t) => {
  const renegotiations = new Renegotiations()
  const { transport, sockets, clientSockets } = await mail(t, {
    authOptional: true,
    onData(stream, _session, done) {
      const hash = createHash('sha256')
      let length = 0
      stream.on('data', (chunk: Buffer) => {
        const before = Math.floor(length / 1_000_000)
        length += chunk.length
        if (Math.floor(length / 1_000_000) > before) renegotiations.of(sockets[0] as RenegotiationTLSSocket)
        hash.update(chunk)
      })
      stream.on('end', () => done(null, hash.digest('hex')))
    },
  })
  for (let i = 0; i < 3; i++) {
    const raw = Readable.from(body(() => renegotiations.of(clientSockets[0] as RenegotiationTLSSocket)))
    const { response } = await transport.sendMail({ envelope, raw })
    t.equal(response, `250 ${expected}`)
  }
  // The server receives 4,000,002 bytes each time, and renegotiates after each million: four times.
  await renegotiations.verified(t, 3 * (RENEGOTIATIONS_PER_BODY + 4))
  t.equal(clientSockets.length, 1)
  const closed = once(sockets[0] as RenegotiationTLSSocket, 'close')
  transport.close()
  await closed
})

t.test('an SMTP server requests a client certificate, and accepts mail only if it is valid', async (t) => {
  for (const [who, identity] of Object.entries({ known, unknown: {} })) {
    const options: SMTPServerOptions = {
      authOptional: true,
      onMailFrom(_address, _session, done) {
        const [socket] = sockets as [RenegotiationTLSSocket]
        socket
          .renegotiate({ requestCert: true, rejectUnauthorized: false })
          .then(({ authorized }) => done(authorized ? null : new Error('not from you')), done)
      },
      onData: (stream, _session, done) => void stream.resume().on('end', () => done()),
    }
    const { transport, sockets } = await mail(t, options, identity)
    const sent = transport.sendMail({ envelope, raw: 'Subject: hello\r\n\r\nhello' })
    if (who === 'known') t.match(await sent, { accepted: ['them@localhost'] })
    else await t.rejects(sent, { responseCode: 550, message: /not from you/ })
    transport.close()
  }
})
