import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from 'node:crypto'
import { once } from 'node:events'
import { Duplex } from 'node:stream'

/*
 * A cipher of one's own over any Duplex, to show how one is put under a
 * RenegotiationDuplex. It keeps secrets and changes its keys, but does not know
 * whom it talks to: for anything else, use TLS.
 *
 * A frame is a type (1 byte), a length (3 bytes), the text under AES-256-GCM
 * and its tag. There are two types: data, and an X25519 public key. When each
 * end has sent a public key, both have new keys for either direction.
 *
 * So who has sent its own and waits for the other's may send no data: to the
 * other end, the next frame after the answer is under the new keys already.
 * The cipher does not see to that, and has no queue; RenegotiationDuplex does.
 */
const DATA = 0
const PUBLIC_KEY = 1
const HEADER_BYTES = 4
const TAG_BYTES = 16
const MAX_DATA_BYTES = 64 * 1024

type KeyPair = { publicKey: KeyObject; privateKey: KeyObject }
type Done = (error?: Error | null) => void

/** One direction's key, and the number of its next frame, which makes each nonce. */
class Key {
  readonly #key: Buffer
  #frames = 0n

  constructor(secret: Buffer, label: string) {
    this.#key = Buffer.from(hkdfSync('sha256', secret, '', label, 32))
  }

  seal(header: Buffer, text: Uint8Array): Buffer {
    const cipher = createCipheriv('aes-256-gcm', this.#key, this.#nextNonce()).setAAD(header)
    return Buffer.concat([header, cipher.update(text), cipher.final(), cipher.getAuthTag()])
  }

  open(header: Buffer, body: Buffer): Buffer {
    const decipher = createDecipheriv('aes-256-gcm', this.#key, this.#nextNonce()).setAAD(header)
    decipher.setAuthTag(body.subarray(-TAG_BYTES))
    return Buffer.concat([decipher.update(body.subarray(0, -TAG_BYTES)), decipher.final()])
  }

  #nextNonce(): Buffer {
    const nonce = Buffer.alloc(12)
    nonce.writeBigUInt64BE(this.#frames++, 4)
    return nonce
  }
}

/**
 * Emits `rekeying` when the other end begins to change the keys, and `rekeyed`
 * whenever they have changed.
 */
export class CipherStream extends Duplex {
  readonly #inner: Duplex
  /** What both ends know, and nobody else. Each exchange of keys adds to it. */
  #secret: Buffer = Buffer.alloc(32)
  #sending = new Key(this.#secret, 'the first, known to all')
  #receiving = new Key(this.#secret, 'the first, known to all')
  #hasKeys = false
  /** Sent, and the other end's has not come yet. */
  #offered: KeyPair | undefined
  #received: Buffer = Buffer.alloc(0)

  constructor(inner: Duplex) {
    super()
    this.#inner = inner
    inner.on('data', (chunk) => this.#receive(chunk))
    inner.on('end', () => this.push(null))
    inner.on('error', (error) => this.destroy(error))
    inner.on('close', () => this.destroy())
  }

  /** Resolves when the keys have changed. */
  async rekey(): Promise<void> {
    if (!this.#hasKeys) await once(this, 'rekeyed')
    const rekeyed = once(this, 'rekeyed')
    // Over a pair of streams in memory, the answer may come before this returns.
    if (this.#offered === undefined) this.#offer()
    await rekeyed
  }

  /** A value that changes with the keys and is the same at both ends. */
  get fingerprint(): Buffer {
    return createHash('sha256').update(this.#secret).update('fingerprint').digest()
  }

  /** Data has to wait for the first keys. */
  override _construct(done: Done): void {
    this.once('rekeyed', () => done())
    this.#offer()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#inner.cork()
    for (let start = 0; start < chunk.length; start += MAX_DATA_BYTES) {
      const part = chunk.subarray(start, start + MAX_DATA_BYTES)
      this.#send(DATA, part, start + part.length === chunk.length ? done : undefined)
    }
    this.#inner.uncork()
  }

  override _read(): void {
    this.#inner.resume()
  }

  override _final(done: Done): void {
    this.#inner.end(done)
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#inner.destroy()
    done(error)
  }

  #send(type: number, text: Uint8Array, done?: Done): void {
    const header = Buffer.alloc(HEADER_BYTES)
    header.writeUInt32BE(type * 2 ** 24 + text.length)
    this.#inner.write(this.#sending.seal(header, text), done)
  }

  #offer(): void {
    this.#offered = generateKeyPairSync('x25519')
    this.#send(PUBLIC_KEY, this.#offered.publicKey.export({ type: 'spki', format: 'der' }))
  }

  #receive(chunk: Buffer): void {
    this.#received = this.#received.length > 0 ? Buffer.concat([this.#received, chunk]) : chunk
    while (this.#received.length >= HEADER_BYTES) {
      const header = this.#received.subarray(0, HEADER_BYTES)
      const end = HEADER_BYTES + header.readUIntBE(1, 3) + TAG_BYTES
      if (this.#received.length < end) return
      const body = this.#received.subarray(HEADER_BYTES, end)
      this.#received = this.#received.subarray(end)
      try {
        const text = this.#receiving.open(header, body)
        if (header[0] === PUBLIC_KEY) this.#change(text)
        else if (!this.push(text)) this.#inner.pause()
      } catch (error) {
        this.destroy(error as Error)
        return
      }
    }
  }

  /** The other end's public key has come: the answer to ours, or the first of the two. */
  #change(theirs: Buffer): void {
    if (this.#offered === undefined) {
      this.emit('rekeying')
      this.#offer()
    }
    const { publicKey, privateKey } = this.#offered as unknown as KeyPair
    this.#offered = undefined
    const ours = publicKey.export({ type: 'spki', format: 'der' })
    const shared = diffieHellman({
      privateKey,
      publicKey: createPublicKey({ key: theirs, type: 'spki', format: 'der' }),
    })
    this.#secret = Buffer.from(hkdfSync('sha256', shared, this.#secret, 'the secret', 32))
    // A direction is named for the key of the end that sends.
    this.#sending = new Key(this.#secret, ours.toString('base64'))
    this.#receiving = new Key(this.#secret, theirs.toString('base64'))
    this.#hasKeys = true
    this.emit('rekeyed')
  }
}
