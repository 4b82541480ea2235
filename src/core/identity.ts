/* Decides whether the peer may have another certificate than before. */
import { X509Certificate } from 'node:crypto'
import { invalidType } from './errors.ts'
import { quote } from './values.ts'

/** Decides whether the peer, whose certificate was `before`, may go on with `after`. Both are proven. */
export type AllowIdentityChange = (before: X509Certificate, after: X509Certificate) => boolean

/**
 * Whether two certificates have the same subject, with the same alternative names, and the same issuer. For the option
 * `allowIdentityChange`: the peer may renew its certificate, and nobody else may take its place.
 *
 * Certificates that name no subject at all are not the same.
 *
 * @example
 * ```js
 * const stream = connect({ host: 'plant.example', port: 8883, renegotiation: { allowIdentityChange: sameSubjectAndIssuer } })
 * ```
 */
export function sameSubjectAndIssuer(before: X509Certificate, after: X509Certificate): boolean {
  if (!before.subject && !before.subjectAltName) return false
  return (
    before.subject === after.subject && before.subjectAltName === after.subjectAltName && before.issuer === after.issuer
  )
}

/**
 * Asks the application about two certificates in DER. Returns the error of its function, if it throws or returns no boolean.
 */
export function askIdentityChange(allow: AllowIdentityChange, before: Uint8Array, after: Uint8Array): boolean | Error {
  try {
    const allowed: unknown = allow(new X509Certificate(before), new X509Certificate(after))
    // A promise would be taken for true.
    if (typeof allowed === 'boolean') return allowed
    return invalidType(`allowIdentityChange must return a boolean, got ${quote(allowed)}`)
  } catch (error) {
    return error instanceof Error ? error : new Error(`allowIdentityChange threw ${quote(error)}`)
  }
}
