import type { EphemeralKeyInfo } from 'node:tls'
import type { OpenSSL } from './binding.ts'
import * as c from './constants.ts'
import { addressIn } from './encoded.ts'
import type { Pointer } from './ffi-types.ts'
import { attempt } from './succeed.ts'

/** Longer than the name of every group. */
const NAME_BYTES = 80

/** The names of Node for the curves that have a type of key of their own. */
const curves: Readonly<Record<number, string>> = { [c.EVP_PKEY_X25519]: 'X25519', [c.EVP_PKEY_X448]: 'X448' }

/** A group that has no key of one of the classic kinds. Node describes it in this way since version 24. */
export interface GroupInfo {
  type: 'TLSGroup'
  /** For example `X25519MLKEM768`. */
  name: string
}

/**
 * The server's part in an ephemeral key exchange, as `getEphemeralKeyInfo()` of Node describes it: null on a server, and
 * an empty object if there was no such exchange.
 */
export function ephemeralKeyInfo(openssl: OpenSSL, ssl: Pointer): EphemeralKeyInfo | GroupInfo | object | null {
  if (openssl.SSL_is_server(ssl) === 1) return null
  // Without a session, OpenSSL 3.0 crashes when it is asked for the group.
  if (openssl.SSL_get_session(ssl) === null) return {}
  const out = new BigUint64Array(1)
  openssl.SSL_ctrl(ssl, c.SSL_CTRL_GET_PEER_TMP_KEY, 0, out)
  const key = addressIn(out)
  const info = key === null ? undefined : keyInfo(openssl, key)
  openssl.EVP_PKEY_free(key)
  return info ?? groupInfo(openssl, ssl) ?? {}
}

function keyInfo(openssl: OpenSSL, key: Pointer): EphemeralKeyInfo | undefined {
  const id = openssl.EVP_PKEY_get_id(key)
  const size = openssl.EVP_PKEY_get_bits(key)
  if (id === c.EVP_PKEY_DH) return { type: 'DH', size }
  const name = id === c.EVP_PKEY_EC ? groupName(openssl, key) : curves[id]
  return name === undefined ? undefined : { type: 'ECDH', name, size }
}

function groupInfo(openssl: OpenSSL, ssl: Pointer): GroupInfo | undefined {
  const group = openssl.SSL_ctrl(ssl, c.SSL_CTRL_GET_NEGOTIATED_GROUP, 0, null)
  const name = openssl.SSL_group_to_name(ssl, group)
  return name === null ? undefined : { type: 'TLSGroup', name }
}

function groupName(openssl: OpenSSL, key: Pointer): string {
  const name = Buffer.alloc(NAME_BYTES)
  attempt(openssl, () => openssl.EVP_PKEY_get_group_name(key, name, name.length, null))
  return name.toString('latin1', 0, name.indexOf(0))
}
