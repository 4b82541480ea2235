import type { HandshakeFailure } from '../core/transport.ts'

/**
 * What an error of OpenSSL during a handshake means, by the reason it gives.
 * Node puts the reason of an SSL_read into the error's code, that of an
 * SSL_write into its message.
 */
export function openSSLFailure(error: Error): HandshakeFailure | undefined {
  const { code } = error as NodeJS.ErrnoException
  const text = `${code} ${error.message}`.toLowerCase().replaceAll('_', ' ')
  if (/no renegotiation|alert handshake failure/.test(text)) return 'refused'
  if (/unsafe legacy renegotiation/.test(text)) return 'insecure'
  if (/unexpected record|app data in handshake/.test(text)) return 'peer-data'
  if (/alert unexpected message/.test(text)) return 'our-data'
  // Our own OpenSSL took offence at a message of the peer's, and not at how it is set up itself.
  if (code?.startsWith('ERR_SSL_') && !/alert|unexpected eof|session id context|internal error/.test(text))
    return 'broken'
  return undefined
}
