// A TLS 1.2 client (RFC 5246) that does what it is told, in the order in which it is told. One cipher suite,
// ECDHE-ECDSA-AES128-GCM-SHA256 on P-256 (RFC 8422, RFC 5288), a client certificate where the server asks for one, and
// secure renegotiation (RFC 5746). It believes whatever the server says. For showing defects, on loopback.
import {
  createCipheriv,
  createDecipheriv,
  createECDH,
  createHash,
  createHmac,
  createSign,
  randomBytes,
} from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'

const CHANGE_CIPHER_SPEC = 20
const ALERT = 21
const HANDSHAKE = 22
const CLIENT_HELLO = 1
const CERTIFICATE = 11
const CERTIFICATE_REQUEST = 13
const SERVER_KEY_EXCHANGE = 12
const SERVER_HELLO = 2
const SERVER_HELLO_DONE = 14
const CERTIFICATE_VERIFY = 15
const CLIENT_KEY_EXCHANGE = 16
const FINISHED = 20

const ECDHE_ECDSA_AES128_GCM_SHA256 = 0xc02b

export class RawClient {
  /** Of the last handshake (RFC 5746, 3.1). */
  verifyData = Buffer.alloc(0)
  #socket
  #incoming = Buffer.alloc(0)
  #messages = Buffer.alloc(0)
  #transcript = []
  #outgoing = []
  #identity
  #share
  #serverShare
  #clientRandom
  #serverRandom
  #certificateRequested = false
  // Keys, once there are any: { key, salt, sequence }.
  #writing
  #reading
  #nextReading

  /** `identity`: `{ key, cert }` in PEM. */
  constructor(socket, identity) {
    this.#socket = socket
    this.#identity = identity
    socket.on('error', () => {})
  }

  static async connect(port, identity) {
    const socket = net.connect(port, '127.0.0.1')
    await once(socket, 'connect')
    return new RawClient(socket, identity)
  }

  /** A whole handshake. */
  async handshake(hello) {
    await this.begin(hello)
    this.finish()
    this.flush()
    await this.finished()
  }

  /** Sends ClientHello, and reads until ServerHelloDone. */
  async begin(hello) {
    this.clientHello(hello)
    this.flush()
    this.#share = createECDH('prime256v1')
    this.#share.generateKeys()
    this.#certificateRequested = false
    for (;;) {
      const { type, body } = await this.#nextMessage()
      if (type === SERVER_HELLO_DONE) return
      if (type === SERVER_HELLO) this.#serverRandom = body.subarray(2, 34)
      if (type === SERVER_KEY_EXCHANGE) this.#serverShare = body.subarray(4, 4 + body[3])
      if (type === CERTIFICATE_REQUEST) this.#certificateRequested = true
    }
  }

  clientHello({ servername } = {}) {
    this.#transcript = []
    this.#clientRandom = randomBytes(32)
    const extensions = [
      extension(0xff01, vector(1, this.verifyData)), // renegotiation_info
      extension(10, vector(2, uint(2, 0x0017))), // supported_groups: secp256r1
      extension(11, vector(1, uint(1, 0))), // ec_point_formats: uncompressed
      extension(13, vector(2, uint(2, 0x0403))), // signature_algorithms: ecdsa_secp256r1_sha256
    ]
    if (servername) extensions.push(extension(0, vector(2, uint(1, 0), vector(2, Buffer.from(servername)))))
    this.#handshakeMessage(
      CLIENT_HELLO,
      uint(2, 0x0303),
      this.#clientRandom,
      vector(1), // no session to resume
      vector(2, uint(2, ECDHE_ECDSA_AES128_GCM_SHA256)),
      vector(1, uint(1, 0)), // no compression
      vector(2, ...extensions),
    )
  }

  /** Certificate, with any certificate in PEM, whoever has the key to it. */
  certificate(pem) {
    this.#handshakeMessage(CERTIFICATE, vector(3, vector(3, der(pem))))
  }

  /** All of the client's second flight, up to Finished. */
  finish() {
    if (this.#certificateRequested) this.certificate(this.#identity.cert)
    this.#handshakeMessage(CLIENT_KEY_EXCHANGE, vector(1, this.#share.getPublicKey()))
    const randoms = Buffer.concat([this.#clientRandom, this.#serverRandom])
    const master = prf(this.#share.computeSecret(this.#serverShare), 'master secret', randoms, 48)
    if (this.#certificateRequested) {
      const signature = createSign('sha256').update(Buffer.concat(this.#transcript)).sign(this.#identity.key)
      this.#handshakeMessage(CERTIFICATE_VERIFY, uint(2, 0x0403), vector(2, signature))
    }
    this.#record(CHANGE_CIPHER_SPEC, uint(1, 1))
    const keys = prf(master, 'key expansion', Buffer.concat([this.#serverRandom, this.#clientRandom]), 40)
    this.#writing = { key: keys.subarray(0, 16), salt: keys.subarray(32, 36), sequence: 0n }
    this.#nextReading = { key: keys.subarray(16, 32), salt: keys.subarray(36, 40), sequence: 0n }
    this.verifyData = prf(master, 'client finished', hash(this.#transcript), 12)
    this.#handshakeMessage(FINISHED, this.verifyData)
  }

  /** Reads until the server's Finished. */
  async finished() {
    while ((await this.#nextMessage()).type !== FINISHED);
  }

  /** Sends what was said so far, in one write. */
  flush() {
    this.#socket.write(Buffer.concat(this.#outgoing.splice(0)))
  }

  destroy() {
    this.#socket.destroy()
  }

  #handshakeMessage(type, ...body) {
    const message = Buffer.concat([uint(1, type), vector(3, ...body)])
    this.#transcript.push(message)
    this.#record(HANDSHAKE, message)
  }

  #record(type, content) {
    const fragment = this.#writing ? encrypt(this.#writing, type, content) : content
    this.#outgoing.push(uint(1, type), uint(2, 0x0303), vector(2, fragment))
  }

  async #nextMessage() {
    for (;;) {
      const length = this.#messages.length < 4 ? Infinity : 4 + this.#messages.readUIntBE(1, 3)
      if (this.#messages.length >= length) {
        const message = this.#messages.subarray(0, length)
        this.#messages = this.#messages.subarray(length)
        this.#transcript.push(message)
        return { type: message[0], body: message.subarray(4) }
      }
      await this.#nextRecord()
    }
  }

  async #nextRecord() {
    const { type, fragment } = await this.#readRecord()
    const content = this.#reading ? decrypt(this.#reading, type, fragment) : fragment
    if (type === CHANGE_CIPHER_SPEC) this.#reading = this.#nextReading
    if (type === HANDSHAKE) this.#messages = Buffer.concat([this.#messages, content])
    if (type === ALERT) throw new Error(`the server sent the alert ${content[1]}`)
  }

  async #readRecord() {
    for (;;) {
      const length = this.#incoming.length < 5 ? Infinity : 5 + this.#incoming.readUInt16BE(3)
      if (this.#incoming.length >= length) {
        const record = this.#incoming.subarray(0, length)
        this.#incoming = this.#incoming.subarray(length)
        return { type: record[0], fragment: record.subarray(5) }
      }
      const chunk = this.#socket.read()
      if (chunk) this.#incoming = Buffer.concat([this.#incoming, chunk])
      else if (this.#socket.readableEnded || this.#socket.destroyed) throw new Error('the server closed the connection')
      else await Promise.race(['readable', 'end', 'close'].map((event) => once(this.#socket, event)))
    }
  }
}

function encrypt(state, type, content) {
  const sequence = uint(8, state.sequence++)
  const cipher = createCipheriv('aes-128-gcm', state.key, Buffer.concat([state.salt, sequence]))
  cipher.setAAD(Buffer.concat([sequence, uint(1, type), uint(2, 0x0303), uint(2, content.length)]))
  const encrypted = Buffer.concat([cipher.update(content), cipher.final()])
  return Buffer.concat([sequence, encrypted, cipher.getAuthTag()])
}

function decrypt(state, type, fragment) {
  const nonce = fragment.subarray(0, 8)
  const encrypted = fragment.subarray(8, -16)
  const decipher = createDecipheriv('aes-128-gcm', state.key, Buffer.concat([state.salt, nonce]))
  const sequence = uint(8, state.sequence++)
  decipher.setAAD(Buffer.concat([sequence, uint(1, type), uint(2, 0x0303), uint(2, encrypted.length)]))
  decipher.setAuthTag(fragment.subarray(-16))
  return Buffer.concat([decipher.update(encrypted), decipher.final()])
}

/** RFC 5246, 5. */
function prf(secret, label, seed, length) {
  const hmac = (data) => createHmac('sha256', secret).update(data).digest()
  const labelled = Buffer.concat([Buffer.from(label), seed])
  let out = Buffer.alloc(0)
  for (let a = hmac(labelled); out.length < length; a = hmac(a)) {
    out = Buffer.concat([out, hmac(Buffer.concat([a, labelled]))])
  }
  return out.subarray(0, length)
}

function hash(messages) {
  return createHash('sha256').update(Buffer.concat(messages)).digest()
}

function uint(bytes, value) {
  return Buffer.from(
    BigInt(value)
      .toString(16)
      .padStart(2 * bytes, '0'),
    'hex',
  )
}

/** The parts, with their length before them in so many bytes. */
function vector(lengthBytes, ...parts) {
  const content = Buffer.concat(parts)
  return Buffer.concat([uint(lengthBytes, content.length), content])
}

function extension(type, content) {
  return Buffer.concat([uint(2, type), vector(2, content)])
}

function der(pem) {
  return Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64')
}
