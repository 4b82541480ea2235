import { randomBytes } from 'node:crypto'
import { MqttClient } from 'mqtt'
import t, { type Test } from 'tap'
import { connect, type RenegotiationTLSSocket } from '../../src/index.ts'
import { ca } from '../fixtures/pki.ts'
import { mosquitto, skip } from '../fixtures/servers.ts'
import { closed, rejection } from '../fixtures/settled.ts'

if (skip.mosquitto) t.plan(0, skip.mosquitto)
else {
  // Mosquitto refuses even with this configuration: its net.c sets SSL_OP_NO_RENEGOTIATION.
  const { port } = await mosquitto(t, { allowRenegotiation: true })

  /** Returns a client with its own streamBuilder, and the sockets of its connections, in order. */
  async function client(t: Test, maxVersion: 'TLSv1.2' | 'TLSv1.3' = 'TLSv1.2') {
    const sockets: RenegotiationTLSSocket[] = []
    const streamBuilder = () => {
      const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca, maxVersion })
      sockets.push(socket)
      return socket
    }
    // The value 0 would turn reconnecting off.
    const mqtt = new MqttClient(streamBuilder, { protocolVersion: 5, reconnectPeriod: 1 })
    const errors: Error[] = []
    mqtt.on('error', (error) => errors.push(error))
    t.teardown(() => mqtt.end(true))
    await new Promise((resolve) => mqtt.once('connect', resolve))
    return { mqtt, sockets, errors }
  }

  const messages = Array.from({ length: 20 }, () => randomBytes(300_000))

  /** Resolves with all messages in one buffer, when as many as were published have arrived. */
  async function received(mqtt: MqttClient): Promise<Buffer> {
    const chunks: Buffer[] = []
    return new Promise((resolve) => {
      mqtt.on('message', (_topic, message) => {
        if (chunks.push(message) === messages.length) resolve(Buffer.concat(chunks))
      })
    })
  }

  t.test('mqtt clients exchange 6 MB through Mosquitto over streams of this package', async (t) => {
    for (const qos of [0, 1, 2] as const) {
      const { mqtt: publisher } = await client(t)
      const { mqtt: subscriber, sockets, errors } = await client(t)
      await subscriber.subscribeAsync(`news ${qos}`, { qos })
      const all = received(subscriber)
      await Promise.all(messages.map((message) => publisher.publishAsync(`news ${qos}`, message, { qos })))
      t.ok((await all).equals(Buffer.concat(messages)), `with QoS ${qos}`)
      await Promise.all([publisher.endAsync(), subscriber.endAsync()])
      await closed(sockets[0]!)
      t.strictSame(errors, [])
    }
  })

  const refused = { code: 'ERR_RENEGOTIATION_REFUSED', cause: { code: 'ERR_SSL_NO_RENEGOTIATION' } }

  t.test('if Mosquitto refuses to renegotiate, mqtt emits the error, reconnects and loses no message', async (t) => {
    const { mqtt: publisher, sockets, errors } = await client(t)
    const { mqtt: subscriber } = await client(t)
    await subscriber.subscribeAsync('refused', { qos: 2 })
    const all = received(subscriber)
    const published = messages.map((message) => publisher.publishAsync('refused', message, { qos: 2 }))
    t.match(await rejection(sockets[0]!.renegotiate()), refused)
    await Promise.all(published)
    t.ok((await all).equals(Buffer.concat(messages)), 'every message arrived once and in order')
    await closed(sockets[0]!)
    t.match(errors, [refused], 'the client emits the same error')
    t.equal(sockets.length, 2)
  })

  t.test('with TLS 1.3, renegotiate() fails at once, and mqtt loses no message', async (t) => {
    const { mqtt, sockets, errors } = await client(t, 'TLSv1.3')
    await mqtt.subscribeAsync('unsupported', { qos: 1 })
    const all = received(mqtt)
    const published = messages.map((message) => mqtt.publishAsync('unsupported', message, { qos: 1 }))
    t.match(await rejection(sockets[0]!.renegotiate()), { code: 'ERR_RENEGOTIATION_UNSUPPORTED' })
    await Promise.all(published)
    t.ok((await all).equals(Buffer.concat(messages)))
    t.equal(sockets.length, 1)
    t.strictSame(errors, [])
  })
}
