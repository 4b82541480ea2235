import { constants } from 'node:crypto'

/*
 * The constants of the headers of OpenSSL 3 under their own names. Those that Node.js has come from Node.js. OpenSSL does
 * not change the others within a major version. test/openssl/constants.ts checks them against the headers, if installed.
 */

export const {
  SSL_OP_ALL,
  SSL_OP_ALLOW_NO_DHE_KEX,
  SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION,
  SSL_OP_CIPHER_SERVER_PREFERENCE,
  SSL_OP_CISCO_ANYCONNECT,
  SSL_OP_COOKIE_EXCHANGE,
  SSL_OP_CRYPTOPRO_TLSEXT_BUG,
  SSL_OP_DONT_INSERT_EMPTY_FRAGMENTS,
  SSL_OP_LEGACY_SERVER_CONNECT,
  SSL_OP_NO_COMPRESSION,
  SSL_OP_NO_ENCRYPT_THEN_MAC,
  SSL_OP_NO_QUERY_MTU,
  SSL_OP_NO_RENEGOTIATION,
  SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION,
  SSL_OP_NO_SSLv2,
  SSL_OP_NO_SSLv3,
  SSL_OP_NO_TICKET,
  SSL_OP_NO_TLSv1,
  SSL_OP_NO_TLSv1_1,
  SSL_OP_NO_TLSv1_2,
  SSL_OP_NO_TLSv1_3,
  SSL_OP_PRIORITIZE_CHACHA,
  SSL_OP_TLS_ROLLBACK_BUG,
} = constants

// What SSL_get_error() returns.
export const SSL_ERROR_NONE = 0
export const SSL_ERROR_SSL = 1
export const SSL_ERROR_WANT_READ = 2
export const SSL_ERROR_WANT_WRITE = 3
export const SSL_ERROR_WANT_X509_LOOKUP = 4
export const SSL_ERROR_SYSCALL = 5
export const SSL_ERROR_ZERO_RETURN = 6
export const SSL_ERROR_WANT_CLIENT_HELLO_CB = 11
export const SSL_ERROR_WANT_RETRY_VERIFY = 12

// Versions of the protocol, as on the wire.
export const SSL3_VERSION = 0x300
export const TLS1_VERSION = 769
export const TLS1_1_VERSION = 770
export const TLS1_2_VERSION = 771
export const TLS1_3_VERSION = 772

// Commands of SSL_ctrl(), SSL_CTX_ctrl() and the two *_callback_ctrl(). The macros of ssl.h call these.
export const SSL_CTRL_SET_TMP_DH = 3
export const SSL_CTRL_MODE = 33
export const SSL_CTRL_CLEAR_MODE = 78
export const SSL_CTRL_EXTRA_CHAIN_CERT = 14
export const SSL_CTRL_CLEAR_EXTRA_CHAIN_CERTS = 83
export const SSL_CTRL_SESS_NUMBER = 20
export const SSL_CTRL_SET_SESS_CACHE_SIZE = 42
export const SSL_CTRL_SET_SESS_CACHE_MODE = 44
export const SSL_CTRL_SET_MSG_CALLBACK_ARG = 16
export const SSL_CTRL_SET_TLSEXT_SERVERNAME_CB = 53
export const SSL_CTRL_SET_TLSEXT_SERVERNAME_ARG = 54
export const SSL_CTRL_SET_TLSEXT_HOSTNAME = 55
export const SSL_CTRL_SET_TLSEXT_TICKET_KEYS = 59
export const SSL_CTRL_GET_TLSEXT_TICKET_KEYS = 58
export const SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB = 63
export const SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB_ARG = 64
export const SSL_CTRL_SET_TLSEXT_STATUS_REQ_TYPE = 65
export const SSL_CTRL_GET_TLSEXT_STATUS_REQ_OCSP_RESP = 70
export const SSL_CTRL_SET_TLSEXT_STATUS_REQ_OCSP_RESP = 71
export const SSL_CTRL_SET_TLSEXT_TICKET_KEY_CB = 72
export const SSL_CTRL_GET_RI_SUPPORT = 76
export const SSL_CTRL_CHAIN = 88
export const SSL_CTRL_CHAIN_CERT = 89
export const SSL_CTRL_SELECT_CURRENT_CERT = 116
export const SSL_CTRL_GET_CHAIN_CERTS = 115
export const SSL_CTRL_SET_GROUPS = 91
export const SSL_CTRL_SET_GROUPS_LIST = 92
export const SSL_CTRL_GET_NEGOTIATED_GROUP = 134
export const SSL_CTRL_SET_SIGALGS = 97
export const SSL_CTRL_SET_SIGALGS_LIST = 98
export const SSL_CTRL_SET_CLIENT_SIGALGS_LIST = 102
export const SSL_CTRL_SET_VERIFY_CERT_STORE = 106
export const SSL_CTRL_SET_CHAIN_CERT_STORE = 107
export const SSL_CTRL_GET_PEER_SIGNATURE_NID = 108
export const SSL_CTRL_GET_PEER_TMP_KEY = 109
export const SSL_CTRL_GET_RAW_CIPHERLIST = 110
export const SSL_CTRL_SET_DH_AUTO = 118
export const SSL_CTRL_GET_EXTMS_SUPPORT = 122
export const SSL_CTRL_SET_MIN_PROTO_VERSION = 123
export const SSL_CTRL_SET_MAX_PROTO_VERSION = 124
export const SSL_CTRL_SET_MAX_SEND_FRAGMENT = 52
export const SSL_CTRL_SET_SPLIT_SEND_FRAGMENT = 125
export const SSL_CTRL_GET_MIN_PROTO_VERSION = 130
export const SSL_CTRL_GET_MAX_PROTO_VERSION = 131
export const SSL_CTRL_GET_SIGNATURE_NID = 132

// Bits of SSL_CTRL_MODE.
export const SSL_MODE_ENABLE_PARTIAL_WRITE = 1
export const SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER = 2
export const SSL_MODE_AUTO_RETRY = 4
export const SSL_MODE_NO_AUTO_CHAIN = 8
export const SSL_MODE_RELEASE_BUFFERS = 0x10
export const SSL_MODE_ASYNC = 0x100

// Bits of SSL_set_options() and SSL_CTX_set_options() that `crypto.constants` does not have.
export const SSL_OP_ALLOW_CLIENT_RENEGOTIATION = 0x100
export const SSL_OP_DISABLE_TLSEXT_CA_NAMES = 0x200
export const SSL_OP_ENABLE_MIDDLEBOX_COMPAT = 0x100000
export const SSL_OP_IGNORE_UNEXPECTED_EOF = 0x80
export const SSL_OP_NO_ANTI_REPLAY = 0x1000000
export const SSL_OP_NO_EXTENDED_MASTER_SECRET = 1

// Bits of SSL_set_verify().
export const SSL_VERIFY_NONE = 0
export const SSL_VERIFY_PEER = 1
export const SSL_VERIFY_FAIL_IF_NO_PEER_CERT = 2
export const SSL_VERIFY_CLIENT_ONCE = 4
export const SSL_VERIFY_POST_HANDSHAKE = 8

// Bits of SSL_CTRL_SET_SESS_CACHE_MODE.
export const SSL_SESS_CACHE_OFF = 0
export const SSL_SESS_CACHE_CLIENT = 1
export const SSL_SESS_CACHE_SERVER = 2
export const SSL_SESS_CACHE_BOTH = 3
export const SSL_SESS_CACHE_NO_AUTO_CLEAR = 0x80
export const SSL_SESS_CACHE_NO_INTERNAL_LOOKUP = 0x100
export const SSL_SESS_CACHE_NO_INTERNAL_STORE = 0x200
export const SSL_SESS_CACHE_NO_INTERNAL = 0x300

// Arguments of SSL_key_update().
export const SSL_KEY_UPDATE_NONE = -1
export const SSL_KEY_UPDATE_NOT_REQUESTED = 0
export const SSL_KEY_UPDATE_REQUESTED = 1

// Bits of SSL_get_shutdown().
export const SSL_SENT_SHUTDOWN = 1
export const SSL_RECEIVED_SHUTDOWN = 2

// Results of the callbacks for ALPN and server names, and of the one for a ClientHello.
export const SSL_TLSEXT_ERR_OK = 0
export const SSL_TLSEXT_ERR_ALERT_WARNING = 1
export const SSL_TLSEXT_ERR_ALERT_FATAL = 2
export const SSL_TLSEXT_ERR_NOACK = 3
export const SSL_AD_ILLEGAL_PARAMETER = 47
export const SSL_CLIENT_HELLO_SUCCESS = 1
export const SSL_CLIENT_HELLO_ERROR = 0
export const SSL_CLIENT_HELLO_RETRY = -1
export const TLSEXT_TYPE_server_name = 0
export const TLSEXT_NAMETYPE_host_name = 0
export const TLSEXT_STATUSTYPE_ocsp = 1

// What the callback of SSL_set_info_callback() is told.
export const SSL_CB_LOOP = 1
export const SSL_CB_EXIT = 2
export const SSL_CB_READ = 4
export const SSL_CB_WRITE = 8
export const SSL_CB_ALERT = 0x4000
export const SSL_CB_HANDSHAKE_START = 0x10
export const SSL_CB_HANDSHAKE_DONE = 0x20

// Content types that the callback of SSL_set_msg_callback() gets. The last three are pseudo types of OpenSSL.
export const SSL3_RT_CHANGE_CIPHER_SPEC = 20
export const SSL3_RT_ALERT = 21
export const SSL3_RT_HANDSHAKE = 22
export const SSL3_RT_APPLICATION_DATA = 23
export const SSL3_RT_HEADER = 0x100
export const TLS1_RT_CRYPTO = 4096
export const SSL3_RT_INNER_CONTENT_TYPE = 0x101

// The first byte of a handshake message: RFC 5246, section 7.4, and RFC 8446, section 4.
export const SSL3_MT_HELLO_REQUEST = 0
export const SSL3_MT_CLIENT_HELLO = 1
export const SSL3_MT_SERVER_HELLO = 2
export const SSL3_MT_NEWSESSION_TICKET = 4
export const SSL3_MT_END_OF_EARLY_DATA = 5
export const SSL3_MT_ENCRYPTED_EXTENSIONS = 8
export const SSL3_MT_CERTIFICATE = 11
export const SSL3_MT_SERVER_KEY_EXCHANGE = 12
export const SSL3_MT_CERTIFICATE_REQUEST = 13
export const SSL3_MT_SERVER_DONE = 14
export const SSL3_MT_CERTIFICATE_VERIFY = 15
export const SSL3_MT_CLIENT_KEY_EXCHANGE = 16
export const SSL3_MT_FINISHED = 20
export const SSL3_MT_KEY_UPDATE = 24

// Commands of BIO_ctrl(). What a memory BIO returns at its end is set by BIO_C_SET_BUF_MEM_EOF_RETURN.
export const BIO_CTRL_RESET = 1
export const BIO_CTRL_EOF = 2
export const BIO_CTRL_INFO = 3
export const BIO_CTRL_PENDING = 10
export const BIO_CTRL_FLUSH = 11
export const BIO_C_SET_SSL = 109
export const BIO_C_SET_BUF_MEM_EOF_RETURN = 130
// Flags of a BIO.
export const BIO_FLAGS_READ = 1
export const BIO_FLAGS_SHOULD_RETRY = 8
/** The BIO does not own what it is given. */
export const BIO_NOCLOSE = 0
export const BIO_C_GET_BUF_MEM_PTR = 115

// Results of a verification, and flags of X509_STORE_set_flags().
export const X509_V_OK = 0
export const X509_V_ERR_UNSPECIFIED = 1
export const X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT = 2
export const X509_V_ERR_UNABLE_TO_GET_CRL = 3
export const X509_V_ERR_CERT_HAS_EXPIRED = 10
export const X509_V_ERR_CERT_REVOKED = 23
export const X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT = 18
export const X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN = 19
export const X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY = 20
export const X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE = 21
export const X509_V_ERR_CERT_CHAIN_TOO_LONG = 22
export const X509_V_ERR_INVALID_PURPOSE = 26
export const X509_V_ERR_CERT_UNTRUSTED = 27
export const X509_V_ERR_CERT_REJECTED = 28
export const X509_V_ERR_APPLICATION_VERIFICATION = 50
export const X509_V_ERR_HOSTNAME_MISMATCH = 62
export const X509_V_FLAG_CRL_CHECK = 4
export const X509_V_FLAG_CRL_CHECK_ALL = 8
export const X509_V_FLAG_PARTIAL_CHAIN = 0x80000
export const X509_V_FLAG_TRUSTED_FIRST = 0x8000

// What EVP_PKEY_get_id() returns.
export const EVP_PKEY_RSA = 6
export const EVP_PKEY_DSA = 116
export const EVP_PKEY_DH = 28
export const EVP_PKEY_EC = 408
export const EVP_PKEY_RSA_PSS = 912
export const EVP_PKEY_X25519 = 1034
export const EVP_PKEY_X448 = 1035
export const EVP_PKEY_ED25519 = 1087
export const EVP_PKEY_ED448 = 1088

// The argument of OpenSSL_version() for the version, and a flag of ERR_get_error_all().
export const OPENSSL_VERSION = 0
export const ERR_TXT_STRING = 2
