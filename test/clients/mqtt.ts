import { once } from 'node:events'
import { Aedes } from 'aedes'
import { MqttClient } from 'mqtt'
import t, { type Test } from 'tap'
import type { RenegotiationTLSSocket } from '../../src/index.ts'
import { body, connector, hashOf, listen, RENEGOTIATIONS_PER_BODY, Renegotiations } from '../fixtures/web.ts'

/** Starts a broker on streams of this package. */
async function mqttBroker(t: Test) {
  const broker = await Aedes.createBroker()
  const server = await listen(t, {}, (socket) => broker.handle(socket))
  t.teardown(() => new Promise<void>((resolve) => broker.close(resolve)))
  return { broker, ...server }
}

/** Waits until the client has connected, or has reconnected. */
async function connected(client: MqttClient): Promise<void> {
  return new Promise((resolve) => client.once('connect', () => resolve()))
}

/** Connects a client by streams of this package. */
async function mqttClient(t: Test, port: number, clientId: string) {
  const { connect, sockets } = connector(t)
  const client = new MqttClient(() => connect(port), { clientId, reconnectPeriod: 1 })
  client.on('error', () => {})
  await connected(client)
  t.teardown(() => client.endAsync(true))
  return { client, sockets }
}

const count = [...body()].length
const expected = await hashOf(body())

/** Resolves with the messages, when as many as a body has chunks have arrived. */
async function messagesTo(client: MqttClient): Promise<Buffer[]> {
  const messages: Buffer[] = []
  return new Promise((resolve) => {
    client.on('message', (_topic, message) => {
      if (messages.push(message) === count) resolve(messages)
    })
  })
}

for (const qos of [0, 1, 2] as const) {
  t.test(`4 MB pass through an aedes broker with QoS ${qos} while all four ends renegotiate`, async (t) => {
    const { port, sockets } = await mqttBroker(t)
    const publisher = await mqttClient(t, port, 'publisher')
    const subscriber = await mqttClient(t, port, 'subscriber')
    await subscriber.client.subscribeAsync('plant/#', { qos })
    const received = messagesTo(subscriber.client)
    const renegotiations = new Renegotiations()
    const ends = [...publisher.sockets, ...subscriber.sockets, ...sockets]
    t.equal(ends.length, 4)
    for (const chunk of body(() => ends.forEach((end) => void renegotiations.of(end)))) {
      await publisher.client.publishAsync('plant/boiler', chunk, { qos })
    }
    t.equal(await hashOf(await received), expected, 'the subscriber received all messages in order')
    await renegotiations.verified(t, 4 * RENEGOTIATIONS_PER_BODY)
    await Promise.all([publisher.client.endAsync(), subscriber.client.endAsync()])
    t.equal(publisher.sockets.length + subscriber.sockets.length, 2, 'no client had to reconnect')
  })
}

t.test('an mqtt client whose connection breaks in a renegotiation reconnects and publishes its message', async (t) => {
  const { broker, port, sockets } = await mqttBroker(t)
  const { client, sockets: clientSockets } = await mqttClient(t, port, 'client')
  const [first] = clientSockets as [RenegotiationTLSSocket]
  const again = connected(client)
  const renegotiated = first.renegotiate()
  first.once('renegotiating', () => sockets[0]?.destroy())
  const published = client.publishAsync('plant/boiler', 'still here', { qos: 1 })
  await t.rejects(renegotiated, { code: 'ERR_RENEGOTIATION_CLOSED' })
  await again
  await published
  t.match(await clientSockets[1]?.renegotiate(), { verified: true })
  t.equal(broker.connectedClients, 1)
})

t.test('an mqtt ping during a renegotiation reaches the broker and is answered', async (t) => {
  const { broker, port, sockets } = await mqttBroker(t)
  const { client, sockets: clientSockets } = await mqttClient(t, port, 'client')
  for (const socket of [clientSockets[0], sockets[0]] as RenegotiationTLSSocket[]) {
    const pinged = once(broker, 'ping')
    const renegotiated = socket.renegotiate()
    client.sendPing()
    const answered = new Promise<void>((resolve) => {
      client.on('packetreceive', ({ cmd }) => {
        if (cmd === 'pingresp') resolve()
      })
    })
    await Promise.all([pinged, answered])
    t.match(await renegotiated, { origin: 'local', verified: true })
  }
})
