/* Reading PEM texts and DER with OpenSSL. */

import type { OpenSSL } from './binding.ts'
import type { Pointer } from './ffi-types.ts'
import { mustExist, mustSucceed } from './succeed.ts'

/** A PEM text or DER, as the options of Node have it. */
export type Text = string | NodeJS.ArrayBufferView

/** Whether a value is a string or bytes. */
export function isText(value: unknown): value is Text {
  return typeof value === 'string' || ArrayBuffer.isView(value)
}

/** The bytes of a text. */
export function bytesOf(text: Text): Buffer {
  return typeof text === 'string' ? Buffer.from(text) : Buffer.from(text.buffer, text.byteOffset, text.byteLength)
}

/** Calls `read` with a BIO that contains a copy of `text`. The BIO is freed afterwards. */
export function withBio<T>(openssl: OpenSSL, text: Text, read: (bio: Pointer) => T): T {
  const bio = mustExist(openssl, openssl.BIO_new(openssl.BIO_s_mem()))
  try {
    const bytes = bytesOf(text)
    if (bytes.length > 0) mustSucceed(openssl, openssl.BIO_write(bio, bytes, bytes.length) / bytes.length)
    return read(bio)
  } finally {
    openssl.BIO_free(bio)
  }
}

/**
 * Reads all certificates of a PEM text, until there is no further one or one cannot be read. The caller frees them.
 * The error, which is there in any case, is left in OpenSSL's queue.
 */
export function readCertificates(openssl: OpenSSL, text: Text): Pointer[] {
  return withBio(openssl, text, (bio) => {
    const certificates: Pointer[] = []
    for (;;) {
      const certificate = openssl.PEM_read_bio_X509_AUX(bio, null, null, EMPTY_PASSPHRASE)
      if (certificate === null) return certificates
      certificates.push(certificate)
    }
  })
}

/** Frees certificates. */
export function freeCertificates(openssl: OpenSSL, certificates: readonly Pointer[]): void {
  for (const certificate of certificates) openssl.X509_free(certificate)
}

/** OpenSSL asks at the terminal if it gets no passphrase at all. A C string. */
export const EMPTY_PASSPHRASE = Buffer.alloc(1)
