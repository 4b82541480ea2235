import type { HandshakeFailure } from '../core/transport.ts'

/**
 * Tells from the reason of an OpenSSL error why a handshake failed. Node puts the reason of an SSL_read into the `code`
 * of the error, that of an SSL_write into its message.
 */
export function openSSLFailure(error: Error): HandshakeFailure | undefined {
  const { code } = error as NodeJS.ErrnoException
  const text = `${code} ${error.message}`.toLowerCase().replaceAll('_', ' ')
  if (/no renegotiation|alert handshake failure/.test(text)) return 'refused'
  if (/unsafe legacy renegotiation/.test(text)) return 'insecure'
  if (/unexpected record|app data in handshake/.test(text)) return 'peer-data'
  if (/alert unexpected message/.test(text)) return 'unexpected-message'
  // OpenSSL at this end rejected a message of the peer. Alerts, a lost connection and errors of this end are excluded.
  if (code?.startsWith('ERR_SSL_') && !/alert|unexpected eof|session id context|internal error/.test(text))
    return 'broken'
  return undefined
}
