import type { CRL } from './revocation-input.ts'
import type { CRLUpdateReport } from './revocation-update.ts'

/** What a server of this package adds to a `tls.Server`. */
export interface RevocationServer {
  /**
   * Puts certificate revocation lists in force for this server. From then on, they judge every new connection, and every
   * handshake of a connection that exists. Each of these is judged now: in a full handshake, or, if there can be none, by the
   * certificates of the last one. The handshakes take turns with those of all streams.
   *
   * A revoked peer's stream ends with `ERR_RENEGOTIATION_REVOKED`. A new connection of a revoked peer is closed, and the
   * server emits `tlsClientError` with that error. `rejectUnauthorized: false` does not change that.
   *
   * `crl` is PEM, with one or several lists, or DER. A list replaces that of the same authority; the lists of others stay.
   * The authority must be one that the server trusts (`ca`), or have its certificate in `cert` or beside the list in PEM,
   * issued by such a one. A list that expires stays in force, and ends no connection.
   *
   * @returns a promise of what has become of the connections.
   * @throws Error as a rejection, with a {@link RevocationListErrorCode}, if a list cannot be used. Then nothing has changed.
   * @throws TypeError as a rejection, if `crl` is neither.
   */
  updateCRL(crl: CRL): Promise<CRLUpdateReport>
}
