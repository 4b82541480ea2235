import tls, { type ConnectionOptions } from 'node:tls'
import t from 'tap'
import { Choice } from '../../src/register/choose.ts'

t.test('a client that offers HTTP/2, alone or among others, is left alone', async (t) => {
  const choice = new Choice(undefined)
  const reason = (ALPNProtocols: ConnectionOptions['ALPNProtocols']) =>
    choice.againstClient({ ALPNProtocols }, undefined)
  t.equal(reason(undefined), undefined)
  t.equal(reason([]), undefined)
  t.equal(reason(['h2']), 'HTTP/2')
  t.equal(reason(['http/1.1', 'h2']), 'HTTP/2')
  t.equal(reason(['http/1.1', 'h2c']), undefined)
  t.equal(reason([new Uint8Array(Buffer.from('h2'))] as unknown as string[]), 'HTTP/2')
  t.equal(reason(Buffer.from('\x02h2')), 'HTTP/2')
  t.equal(reason(new Uint8Array(Buffer.from('\x02h2'))), 'HTTP/2')
  t.equal(reason(Buffer.from('\x08http/1.1\x02h2')), 'HTTP/2')
  t.equal(reason(Buffer.from('\x08http/1.1\x03h2c')), undefined)
})

t.test('a client that allows TLS 1.3 only is left alone', async (t) => {
  const choice = new Choice(undefined)
  t.equal(choice.againstClient({ minVersion: 'TLSv1.3' }, undefined), 'TLS 1.3')
  t.equal(choice.againstClient({ minVersion: 'TLSv1.2' }, undefined), undefined)
  const { DEFAULT_MIN_VERSION } = tls
  t.teardown(() => {
    tls.DEFAULT_MIN_VERSION = DEFAULT_MIN_VERSION
  })
  tls.DEFAULT_MIN_VERSION = 'TLSv1.3'
  t.equal(choice.againstClient({}, undefined), 'TLS 1.3')
})

t.test('hosts are compared with the server name and the host, and * stands for any characters', async (t) => {
  const choice = new Choice(['*.plant.example', '10.0.*', 'a+b(c)'])
  const admits = (options: ConnectionOptions, host?: string) => choice.againstClient(options, host) === undefined
  t.ok(admits({ host: 'a.plant.example' }))
  t.ok(admits({ host: 'A.PLANT.example' }))
  t.ok(admits({ host: '10.0.3.4' }))
  t.ok(admits({}, '10.0.3.4'), 'the argument of tls.connect(port, host)')
  t.ok(admits({ servername: 'a.plant.example', host: '192.168.1.1' }))
  t.ok(admits({ host: 'a+b(c)' }), 'other characters stand for themselves')
  t.notOk(admits({ host: 'plant.example' }))
  t.notOk(admits({ host: 'a.plant.example.org' }))
  t.notOk(admits({ host: 'aab(c)' }))
  t.notOk(admits({}), 'localhost, if there is no host')
  t.ok(new Choice(['localhost']).againstClient({}, undefined) === undefined)
})
