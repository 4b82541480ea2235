import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type tls from 'node:tls'
import mysql from 'mysql2'
import t, { type Test } from 'tap'
import { type RenegotiationTLSSocket, wrapTLSSocket } from '../../src/index.ts'
import { ca } from '../fixtures/pki.ts'
import { mariadb, skip } from '../fixtures/servers.ts'
import { closed, rejection } from '../fixtures/settled.ts'
import { Renegotiations } from '../fixtures/web.ts'

type Version = 'TLSv1.2' | 'TLSv1.3'

/** With members that the types of mysql2 do not declare. */
interface Connection extends mysql.Connection {
  stream: tls.TLSSocket
  startTLS(onSecure: (error?: Error) => void): void
}

/**
 * Wraps the TLS socket that mysql2 has made, and moves its listeners to the
 * stream. The option `stream` of mysql2 does not help: it is for the connection
 * below TLS, and mysql2 always makes the TLS socket itself.
 */
function wrap(connection: Connection): void {
  const { stream: plain } = connection
  const listeners = { data: plain.listeners('data'), error: plain.listeners('error') }
  const stream = wrapTLSSocket(plain)
  for (const [event, its] of Object.entries(listeners) as [string, (() => void)[]][]) {
    for (const listener of its) {
      plain.off(event, listener)
      stream.on(event, listener)
    }
  }
  connection.stream = stream
}

/** When the socket is wrapped. */
const hooks: Record<string, (connection: Connection) => Promise<void>> = {
  async 'after it is connected'(connection) {
    await once(connection, 'connect')
    wrap(connection)
  },

  async 'before it is connected'(connection) {
    const { startTLS } = connection
    connection.startTLS = (onSecure) => {
      startTLS.call(connection, onSecure)
      wrap(connection)
    }
    await once(connection, 'connect')
  },
}

const refused = { code: 'ERR_RENEGOTIATION_REFUSED', cause: { code: 'ERR_SSL_NO_RENEGOTIATION' } }

if (skip.mariadb) t.plan(0, skip.mariadb)
else {
  const servers = await Promise.all([mariadb(t), mariadb(t, { allowRenegotiation: true })])
  const [refusing, allowing] = servers.map(({ port }) => port) as [number, number]

  async function client(t: Test, hook: string, port: number, maxVersion: Version = 'TLSv1.2') {
    const ssl = { ca, maxVersion } as mysql.SslOptions
    const connection = mysql.createConnection({ host: 'localhost', port, user: 'root', ssl }) as Connection
    const errors: NodeJS.ErrnoException[] = []
    await hooks[hook]!(connection)
    connection.on('error', (error) => errors.push(error))
    t.teardown(() => connection.destroy())
    return { database: connection.promise(), socket: connection.stream as RenegotiationTLSSocket, errors }
  }
  type Database = Awaited<ReturnType<typeof client>>['database']

  const chunks = Array.from({ length: 10 }, (_, i) => Buffer.alloc(500_000, `chunk ${i} `))
  const md5 = (chunk: Buffer) => createHash('md5').update(chunk).digest('hex')
  const echo = 'select cast(? as binary) as chunk, md5(?) as md5'

  /** Sends 5 MB twice. Whether MariaDB returns the same 5 MB and their right hash. */
  async function roundTrip(database: Database, meanwhile: () => void = () => {}): Promise<boolean> {
    const answers = chunks.map(async (chunk) => {
      const [[row]] = await database.execute<mysql.RowDataPacket[]>(echo, [chunk, chunk])
      meanwhile()
      return chunk.equals(row!['chunk']) && row!['md5'] === md5(chunk)
    })
    return (await Promise.all(answers)).every(Boolean)
  }

  for (const hook of Object.keys(hooks)) {
    t.test(`a mysql2 connection wrapped ${hook} sends and receives 5 MB while it renegotiates`, async (t) => {
      const { database, socket, errors } = await client(t, hook, allowing)
      const renegotiations = new Renegotiations()
      renegotiations.of(socket)
      t.ok(await roundTrip(database, () => renegotiations.of(socket)))
      await renegotiations.verified(t, 1 + chunks.length)
      const [[row]] = await database.query<mysql.RowDataPacket[]>("show status like 'Ssl_version'")
      t.equal(row!['Value'], 'TLSv1.2')
      await database.end()
      await closed(socket)
      t.strictSame(errors, [])
    })

    t.test(`if MariaDB refuses (as on Debian), pending queries fail on a connection wrapped ${hook}`, async (t) => {
      const { database, socket, errors } = await client(t, hook, refusing)
      const queries = chunks.map(async (chunk) => rejection(database.query(echo, [chunk, chunk])))
      t.match(await rejection(socket.renegotiate()), refused)
      for (const error of await Promise.all(queries)) t.match(error, { ...refused, fatal: true })
      await closed(socket)
      t.strictSame(errors, [], 'the connection emits no error, because the queries got it')
      t.match(await rejection(database.query('select 1')), { message: /closed state/ })
    })

    t.test(`if MariaDB refuses, an idle connection wrapped ${hook} emits the error and is closed`, async (t) => {
      const { database, socket, errors } = await client(t, hook, refusing)
      t.match(await rejection(socket.renegotiate()), refused)
      await closed(socket)
      t.match(errors, [refused])
      t.match(await rejection(database.query('select 1')), { message: /closed state/ })
    })

    t.test(`with TLS 1.3, renegotiate() fails but queries succeed on a connection wrapped ${hook}`, async (t) => {
      const { database, socket, errors } = await client(t, hook, allowing, 'TLSv1.3')
      const trip = roundTrip(database)
      t.match(await rejection(socket.renegotiate()), { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
      t.ok(await trip)
      t.strictSame(errors, [])
    })
  }
}
