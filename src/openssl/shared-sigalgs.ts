import type { OpenSSL } from './binding.ts'
import * as c from './constants.ts'
import type { Pointer } from './ffi-types.ts'

/** The names of Node for types of signatures. Those of others are OpenSSL's short names. */
const signatures: Readonly<Record<number, string>> = {
  [c.EVP_PKEY_RSA]: 'RSA',
  [c.EVP_PKEY_RSA_PSS]: 'RSA-PSS',
  [c.EVP_PKEY_DSA]: 'DSA',
  [c.EVP_PKEY_EC]: 'ECDSA',
  [c.EVP_PKEY_ED25519]: 'Ed25519',
  [c.EVP_PKEY_ED448]: 'Ed448',
}

/** The signature algorithms that both ends have, as `getSharedSigalgs()` of Node returns them: `ECDSA+SHA256` and so on. */
export function sharedSigalgs(openssl: OpenSSL, ssl: Pointer): string[] {
  const length = openssl.SSL_get_shared_sigalgs(ssl, 0, null, null, null, null, null)
  return Array.from({ length }, (_, i) => {
    const [sign, hash] = [new Int32Array(1), new Int32Array(1)]
    openssl.SSL_get_shared_sigalgs(ssl, i, sign, hash, null, null, null)
    const [signNid, hashNid] = [sign[0] as number, hash[0] as number]
    return `${signatures[signNid] ?? name(openssl, signNid)}+${name(openssl, hashNid)}`
  })
}

function name(openssl: OpenSSL, nid: number): string {
  return openssl.OBJ_nid2sn(nid) ?? 'UNDEF'
}
