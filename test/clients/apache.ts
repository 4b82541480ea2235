import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { connect } from '../../src/index.ts'
import { browser, startApache } from '../fixtures/apache-browser.ts'
import { skip } from '../fixtures/servers.ts'
import { hashOf } from '../fixtures/web.ts'

if (skip.apache) t.plan(0, skip.apache)
else {
  const options = await startApache(t, 'TLSv1.2')

  t.test('Apache asks for a certificate when a GET needs one, and gets it', async (t) => {
    const { sockets, fetch } = browser(t, options, connect)
    t.equal((await fetch('/')).seen?.client, undefined, 'it does not know the client before')
    t.equal((await fetch('/secret')).seen?.client, 'client')
    t.equal((await fetch('/secret')).seen?.client, 'client', 'and need not ask again')
    t.match(
      sockets.map(({ counters }) => counters),
      [{ renegotiations: 1, byPeer: 1 }],
      'by one renegotiation, on one connection',
    )
  })

  t.test('Apache asks for a certificate when it has received 15 MB of a POST, and no byte is lost', async (t) => {
    const body = randomBytes(15 * 1024 * 1024)
    const { sockets, fetch } = browser(t, options, connect)
    for (let time = 1; time <= 2; time++) {
      const { seen } = await fetch('/secret', body)
      t.equal(seen?.sha256, await hashOf([body]), `request ${time}`)
    }
    t.match(
      sockets.map(({ counters }) => counters),
      [{ renegotiations: 1, byPeer: 1 }],
    )
  })

  /** Sends a request that needs a certificate, and others without waiting for its answer. Returns all that comes back. */
  async function pipeline(t: Test, others: number) {
    const socket = connect(options)
    t.teardown(() => socket.destroy())
    const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`
    socket.write(request('/secret') + request('/').repeat(others))
    const answer = (await socket.toArray()).join('')
    return { answer, answers: answer.split('HTTP/1.1 ').length - 1, renegotiations: socket.counters.renegotiations }
  }

  t.test('Apache closes the connection after a renegotiation if the next request had come before', async (t) => {
    const { answer, answers, renegotiations } = await pipeline(t, 1)
    t.match(answer, /^HTTP\/1\.1 200 OK\r\n.*Connection: close.*"client":"client"/s)
    t.equal(answers, 1, 'the next request is not answered')
    t.equal(renegotiations, 1)
  })

  t.test('Apache refuses a request that needs a certificate while further records with requests come', async (t) => {
    // More than a record holds.
    const { answer, answers, renegotiations } = await pipeline(t, 2000)
    t.match(answer, /^HTTP\/1\.1 403 Forbidden\r\n.*Connection: close/s)
    t.equal(answers, 1)
    t.equal(renegotiations, 0)
  })
}
