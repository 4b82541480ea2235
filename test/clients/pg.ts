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

/** The options of pg that accept a connection made elsewhere. */
const hooks: Record<
  string,
  (port: number, maxVersion: Version) => Promise<[pg.ClientConfig, () => RenegotiationTLSSocket]>
> = {
  /** A connection that is already encrypted. pg takes it for a plain one that is not connected yet. */
  async stream(port, maxVersion) {
    const socket = net.connect(port, '127.0.0.1')
    socket.write(sslRequest)
    await once(socket, 'data')
    const stream = connect({ socket, servername: 'localhost', ca, maxVersion })
    await once(stream, 'secureConnect')
    stream.connect = () => stream
    return [{ stream: () => stream as Duplex }, () => stream]
  },

  /** A connection of pg, whose TLS socket is wrapped before pg adds its listeners. */
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
  // PostgreSQL refuses even with this configuration: its be-secure-openssl.c sets SSL_OP_NO_RENEGOTIATION.
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

  /** Sends 5 MB. Whether PostgreSQL returns the same 5 MB and their right hash. */
  async function roundTrip(client: pg.Client): Promise<boolean> {
    for (const chunk of chunks) {
      const { rows } = await client.query('select $1::bytea as chunk, md5($1::bytea) as md5', [chunk])
      if (!chunk.equals(rows[0].chunk) || rows[0].md5 !== md5(chunk)) return false
    }
    return true
  }

  for (const hook of Object.keys(hooks)) {
    t.test(`pg sends and receives 5 MB over a stream of this package (option ${hook})`, async (t) => {
      const { client: database, socket } = await client(t, hook)
      t.ok(await roundTrip(database))
      const { rows } = await database.query('select version from pg_stat_ssl where pid = pg_backend_pid()')
      t.match(rows, [{ version: 'TLSv1.2' }])
      t.ok(socket.bytesRead > 10_000_000, 'at least the hexadecimal digits of 5 MB went through the stream')
      await database.end()
      await closed(socket)
    })

    t.test(`if PostgreSQL refuses to renegotiate, the running query of pg fails (option ${hook})`, async (t) => {
      const { client: database, socket, errors } = await client(t, hook)
      const query = rejection(database.query('select $1::bytea', [Buffer.concat(chunks)]))
      t.match(await rejection(socket.renegotiate()), refused)
      t.match(await query, refused)
      await closed(socket)
      t.equal(errors.length, 1)
      t.match(errors[0], refused, 'the client emits the same error')
    })

    t.test(`if PostgreSQL refuses, an idle client of pg emits the error and ends (option ${hook})`, async (t) => {
      const { client: database, socket, errors } = await client(t, hook)
      const ended = new Promise((resolve) => database.once('end', resolve))
      t.match(await rejection(socket.renegotiate()), refused)
      await ended
      await closed(socket)
      t.match(errors[0], refused)
      t.match(await rejection(database.query('select 1')), { message: /not queryable/ })
    })

    t.test(`with TLS 1.3, renegotiate() fails at once, and all queries of pg succeed (option ${hook})`, async (t) => {
      const { client: database, socket, errors } = await client(t, hook, 'TLSv1.3')
      const trip = roundTrip(database)
      t.match(await rejection(socket.renegotiate()), { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
      t.ok(await trip)
      t.strictSame(errors, [])
    })
  }
}
