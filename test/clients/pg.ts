import { createHash } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import type tls from 'node:tls'
import pg from 'pg'
import t, { type Test } from 'tap'
import { connect, type RenegotiationTLSSocket, wrapTLSSocket } from '../../src/index.ts'
import { ca } from '../fixtures/pki.ts'
import { postgres, skip } from '../fixtures/servers.ts'
import { closed, rejection } from '../fixtures/settled.ts'

type Version = 'TLSv1.2' | 'TLSv1.3'

const refused = { code: 'ERR_RENEGOTIATION_REFUSED', cause: { code: 'ERR_SSL_NO_RENEGOTIATION' } }

/** SSLRequest, of PostgreSQL's protocol; the answer is one byte, `S` for yes. */
const sslRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])

/** Where pg takes a connection that somebody else makes. */
const hooks: Record<
  string,
  (port: number, maxVersion: Version) => Promise<[pg.ClientConfig, () => RenegotiationTLSSocket]>
> = {
  /** A connection that is secure already, which pg believes to be plain, and not to be connected yet. */
  async stream(port, maxVersion) {
    const socket = net.connect(port, '127.0.0.1')
    socket.write(sslRequest)
    await once(socket, 'data')
    const stream = connect({ socket, servername: 'localhost', ca, maxVersion })
    await once(stream, 'secureConnect')
    stream.connect = () => stream
    return [{ stream: () => stream as Duplex }, () => stream]
  },

  /** pg's own connection, but for the socket that it has made: that is wrapped before anyone listens to it. */
  async connection(port, maxVersion) {
    class Connection extends pg.Connection {
      declare stream: RenegotiationTLSSocket

      attachListeners(stream: tls.TLSSocket): void {
        this.stream = wrapTLSSocket(stream)
        ;(pg.Connection.prototype as unknown as Connection).attachListeners.call(this, this.stream)
      }
    }
    const ssl = { ca, maxVersion }
    const connection = new Connection({ ssl })
    const config = { connection, ssl, host: 'localhost', port }
    return [config as pg.ClientConfig, () => connection.stream]
  },
}

if (skip.postgres) t.plan(0, skip.postgres)
else {
  // It refuses even so: be-secure-openssl.c sets SSL_OP_NO_RENEGOTIATION.
  const { port } = await postgres(t, { allowRenegotiation: true })

  async function client(t: Test, hook: string, maxVersion: Version = 'TLSv1.2') {
    const [config, socket] = await hooks[hook]!(port, maxVersion)
    const client = new pg.Client({ ...config, user: 'postgres', database: 'postgres' })
    const errors: NodeJS.ErrnoException[] = []
    client.on('error', (error) => errors.push(error))
    await client.connect()
    t.teardown(async () => client.end())
    return { client, socket: socket(), errors }
  }

  const chunks = Array.from({ length: 10 }, (_, i) => Buffer.alloc(500_000, `chunk ${i} `))
  const md5 = (chunk: Buffer) => createHash('md5').update(chunk).digest('hex')

  /** 5 MB go there and come back, together with what PostgreSQL makes of them. */
  async function roundTrip(client: pg.Client): Promise<boolean> {
    for (const chunk of chunks) {
      const { rows } = await client.query('select $1::bytea as chunk, md5($1::bytea) as md5', [chunk])
      if (!chunk.equals(rows[0].chunk) || rows[0].md5 !== md5(chunk)) return false
    }
    return true
  }

  for (const hook of Object.keys(hooks)) {
    t.test(`by ${hook}, 5 MB go there and back, over TLS, by our stream`, async (t) => {
      const { client: database, socket } = await client(t, hook)
      t.ok(await roundTrip(database))
      const { rows } = await database.query('select version from pg_stat_ssl where pid = pg_backend_pid()')
      t.match(rows, [{ version: 'TLSv1.2' }])
      t.ok(socket.bytesRead > 10_000_000, 'the hexadecimal digits of 5 MB')
      await database.end()
      await closed(socket)
    })

    t.test(`by ${hook}, PostgreSQL refuses, and the query in the middle fails`, async (t) => {
      const { client: database, socket, errors } = await client(t, hook)
      const query = rejection(database.query('select $1::bytea', [Buffer.concat(chunks)]))
      t.match(await rejection(socket.renegotiate()), refused)
      t.match(await query, refused)
      await closed(socket)
      t.match(errors, [], 'which nobody else is told of')
    })

    t.test(`by ${hook}, an idle client is told by its error, and takes no queries any more`, async (t) => {
      const { client: database, socket, errors } = await client(t, hook)
      const ended = new Promise((resolve) => database.once('end', resolve))
      t.match(await rejection(socket.renegotiate()), refused)
      await ended
      await closed(socket)
      t.match(errors[0], refused)
      t.match(await rejection(database.query('select 1')), { message: /not queryable/ })
    })

    t.test(`by ${hook}, with TLS 1.3 it is told at once that there is none, and no query is harmed`, async (t) => {
      const { client: database, socket, errors } = await client(t, hook, 'TLSv1.3')
      const trip = roundTrip(database)
      t.match(await rejection(socket.renegotiate()), { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
      t.ok(await trip)
      t.match(errors, [])
    })
  }
}
