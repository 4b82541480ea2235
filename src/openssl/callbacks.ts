import type { Signature } from './ffi-types.ts'

/*
 * The callbacks of OpenSSL, with the argument list as the manual has it. Make one with Memory.callback(), in
 * ffi-types.ts. A callback for the macros of ssl.h is set with SSL_CTX_callback_ctrl().
 */
export const callbacks = {
  /** SSL_set_verify(3): preverify_ok, X509_STORE_CTX. */
  verify: ['int', 'int', 'pointer'],
  /** SSL_CTX_set_cert_verify_callback(3): X509_STORE_CTX, arg. */
  certVerify: ['int', 'pointer', 'pointer'],
  /** SSL_CTX_set_cert_cb(3): SSL, arg. */
  cert: ['int', 'pointer', 'pointer'],
  /** SSL_CTX_set_alpn_select_cb(3): SSL, const unsigned char **out, unsigned char *outlen, in, inlen, arg. */
  alpnSelect: ['int', 'pointer', 'pointer', 'pointer', 'pointer', 'uint', 'pointer'],
  /** SSL_CTX_set_tlsext_servername_callback(3): SSL, int *alert, arg. */
  servername: ['int', 'pointer', 'pointer', 'pointer'],
  /** SSL_CTX_set_tlsext_status_cb(3): SSL, arg. */
  status: ['int', 'pointer', 'pointer'],
  /** SSL_CTX_set_client_hello_cb(3): SSL, int *alert, arg. */
  clientHello: ['int', 'pointer', 'pointer', 'pointer'],
  /** SSL_CTX_set_keylog_callback(3): SSL, line. */
  keylog: ['void', 'pointer', 'string'],
  /** SSL_set_info_callback(3): SSL, where, ret. */
  info: ['void', 'pointer', 'int', 'int'],
  /** SSL_set_msg_callback(3): write_p, version, content_type, buf, len, SSL, arg. */
  message: ['void', 'int', 'int', 'int', 'pointer', 'size', 'pointer', 'pointer'],
  /** SSL_CTX_sess_set_new_cb(3): SSL, SSL_SESSION. */
  newSession: ['int', 'pointer', 'pointer'],
  /** SSL_CTX_sess_set_get_cb(3): SSL, data, len, int *copy. */
  getSession: ['pointer', 'pointer', 'pointer', 'int', 'pointer'],
  /** SSL_CTX_sess_set_remove_cb(3): SSL_CTX, SSL_SESSION. */
  removeSession: ['void', 'pointer', 'pointer'],
  /** SSL_CTX_set_psk_client_callback(3): SSL, hint, identity, max_identity_len, psk, max_psk_len. */
  pskClient: ['uint', 'pointer', 'string', 'pointer', 'uint', 'pointer', 'uint'],
  /** SSL_CTX_set_psk_server_callback(3): SSL, identity, psk, max_psk_len. */
  pskServer: ['uint', 'pointer', 'string', 'pointer', 'uint'],
  /** pem_password_cb, PEM_read_bio_PrivateKey(3): buf, size, rwflag, u. */
  password: ['int', 'pointer', 'int', 'int', 'pointer'],
} as const satisfies Record<string, Signature>
