/*
 * A foreign peer on NSS, without a database: the certificate and the key live
 * in memory.
 */
#define HAS_TLS13
#include "peer.h"

#include <cert.h>
#include <certdb.h>
#include <keyhi.h>
#include <nss.h>
#include <nssb64.h>
#include <pk11pub.h>
#include <private/pprio.h>
#include <prerror.h>
#include <prio.h>
#include <ssl.h>
#include <sslexp.h>
#include <sslproto.h>

static PRFileDesc *ssl;
static int handshaking = 1;
static int handshakes;
static CERTCertificate *own_certificate;
static SECKEYPrivateKey *own_key;

__attribute__((noreturn)) static void fail_nss(const char *what) {
  const char *name = PR_ErrorToName(PR_GetError());
  fail("%s: %s", what, name ? name : "unknown error");
}

static void check(SECStatus status, const char *what) {
  if (status != SECSuccess) fail_nss(what);
}

/*
 * NSS reports only when a handshake is complete. That the peer has begun one is
 * seen from the types of the records that come.
 */
static void look_at_records(const unsigned char *data, size_t size) {
  static unsigned char header[5];
  static size_t header_size, rest;
  while (size > 0) {
    if (rest > 0) {
      size_t part = rest < size ? rest : size;
      data += part, size -= part, rest -= part;
      continue;
    }
    header[header_size++] = *data++, size--;
    if (header_size < sizeof header) continue;
    header_size = 0;
    rest = (size_t)(header[3] << 8 | header[4]);
    if (header[0] == ssl_ct_handshake) handshaking = 1;
  }
}

/* What NSS needs of a socket. */

static PRInt32 PR_CALLBACK on_send(PRFileDesc *fd, const void *data, PRInt32 size, PRIntn flags, PRIntervalTime timeout) {
  (void)fd, (void)flags, (void)timeout;
  wire_send(data, (size_t)size);
  return size;
}

static PRInt32 PR_CALLBACK on_write(PRFileDesc *fd, const void *data, PRInt32 size) {
  return on_send(fd, data, size, 0, PR_INTERVAL_NO_WAIT);
}

static PRInt32 PR_CALLBACK on_receive(PRFileDesc *fd, void *data, PRInt32 size, PRIntn flags, PRIntervalTime timeout) {
  (void)fd, (void)flags, (void)timeout;
  ssize_t n = wire_receive(data, (size_t)size);
  if (n < 0) PR_SetError(PR_WOULD_BLOCK_ERROR, 0);
  if (n > 0) look_at_records((unsigned char *)data, (size_t)n);
  return (PRInt32)n;
}

static PRInt32 PR_CALLBACK on_read(PRFileDesc *fd, void *data, PRInt32 size) {
  return on_receive(fd, data, size, 0, PR_INTERVAL_NO_WAIT);
}

static PRStatus PR_CALLBACK on_get_option(PRFileDesc *fd, PRSocketOptionData *data) {
  (void)fd;
  if (data->option != PR_SockOpt_Nonblocking) return PR_FAILURE;
  data->value.non_blocking = PR_TRUE;
  return PR_SUCCESS;
}

static PRStatus PR_CALLBACK on_get_peer_name(PRFileDesc *fd, PRNetAddr *address) {
  (void)fd;
  memset(address, 0, sizeof *address);
  address->inet.family = PR_AF_INET;
  address->inet.port = htons((unsigned short)atoi(port));
  address->inet.ip = htonl(INADDR_LOOPBACK);
  return PR_SUCCESS;
}

static PRFileDesc *wire_layer(void) {
  static PRIOMethods methods;
  methods = *PR_GetDefaultIOMethods();
  methods.send = on_send;
  methods.write = on_write;
  methods.recv = on_receive;
  methods.read = on_read;
  methods.getsocketoption = on_get_option;
  methods.getpeername = on_get_peer_name;
  PRFileDesc *fd = PR_CreateIOLayerStub(PR_GetUniqueIdentity("wire"), &methods);
  if (fd == NULL) fail_nss("PR_CreateIOLayerStub");
  return fd;
}

/* The one object that a PEM file has. */
static SECItem *read_pem(const char *name) {
  static char text[65536];
  FILE *file = fopen(name, "r");
  if (file == NULL) fail("%s: %s", name, strerror(errno));
  text[fread(text, 1, sizeof text - 1, file)] = 0;
  fclose(file);
  char *from = strchr(text, '\n');
  char *to = from ? strstr(from, "-----END") : NULL;
  SECItem *item = to ? NSSBase64_DecodeBuffer(NULL, NULL, from, (PRUint32)(to - from)) : NULL;
  if (item == NULL) fail("%s is not a PEM file", name);
  return item;
}

static CERTCertificate *read_certificate(const char *name) {
  CERTCertificate *certificate =
      CERT_NewTempCertificate(CERT_GetDefaultCertDB(), read_pem(name), NULL, PR_FALSE, PR_TRUE);
  if (certificate == NULL) fail_nss(name);
  return certificate;
}

static SECKEYPrivateKey *read_key(const char *name, CERTCertificate *certificate) {
  SECKEYPrivateKey *key = NULL;
  SECKEYPublicKey *public_key = CERT_ExtractPublicKey(certificate);
  SECItem *value = &public_key->u.ec.publicValue;
  check(PK11_ImportDERPrivateKeyInfoAndReturnKey(PK11_GetInternalKeySlot(), read_pem(name), NULL, value, PR_FALSE,
                                                 PR_TRUE, KU_ALL, &key, NULL),
        name);
  return key;
}

static void PR_CALLBACK on_handshake_done(PRFileDesc *fd, void *context) {
  (void)fd, (void)context;
  if (handshakes++ > 0) printf("renegotiated\n");
  handshaking = 0;
}

static int tls_handshake(void) {
  if (SSL_ForceHandshake(ssl) == SECSuccess) return 1;
  if (PR_GetError() != PR_WOULD_BLOCK_ERROR) fail_nss("SSL_ForceHandshake");
  return 0;
}

static const char *tls_cipher(void) {
  static SSLCipherSuiteInfo suite;
  SSLChannelInfo channel;
  check(SSL_GetChannelInfo(ssl, &channel, sizeof channel), "SSL_GetChannelInfo");
  check(SSL_GetCipherSuiteInfo(channel.cipherSuite, &suite, sizeof suite), "SSL_GetCipherSuiteInfo");
  return suite.cipherSuiteName;
}

static size_t tls_read(unsigned char *data, size_t size) {
  PRInt32 n = PR_Recv(ssl, data, (PRInt32)size, 0, PR_INTERVAL_NO_WAIT);
  if (n == 0) fail("the peer has closed the connection");
  if (n < 0 && PR_GetError() != PR_WOULD_BLOCK_ERROR) fail_nss("PR_Recv");
  return n < 0 ? 0 : (size_t)n;
}

static int tls_can_write(void) { return !handshaking; }

static void tls_write(const unsigned char *data, size_t size) {
  PRInt32 n = PR_Send(ssl, data, (PRInt32)size, 0, PR_INTERVAL_NO_WAIT);
  if (n < 0) fail_nss("PR_Send");
  if (n != (PRInt32)size) fail("PR_Send took %d bytes of %zu", n, size);
}

/* A server asks, and sends until the answer comes. A client begins at once. If the peer has begun, that serves both. */
static void tls_renegotiate(void) {
  if (handshaking) return;
  if (!is_server) handshaking = 1;
  check(SSL_ReHandshake(ssl, PR_FALSE), "SSL_ReHandshake");
}

static SECStatus PR_CALLBACK on_client_certificate(void *context, PRFileDesc *fd, PRBool check_signature, PRBool server) {
  SECStatus status = SSL_AuthCertificate(context, fd, check_signature, server);
  if (!is_server || status != SECSuccess) return status;
  CERTCertificate *peer = SSL_PeerCertificate(fd);
  printf("authenticated %s\n", CERT_GetCommonName(&peer->subject));
  CERT_DestroyCertificate(peer);
  return status;
}

static SECStatus PR_CALLBACK on_request(void *context, PRFileDesc *fd, CERTDistNames *authorities,
                                        CERTCertificate **certificate, SECKEYPrivateKey **key) {
  (void)context, (void)fd, (void)authorities;
  *certificate = CERT_DupCertificate(own_certificate);
  *key = SECKEY_CopyPrivateKey(own_key);
  return SECSuccess;
}

static void tls_update(void) { check(SSL_KeyUpdate(ssl, PR_TRUE), "SSL_KeyUpdate"); }

static void tls_authenticate(void) { check(SSL_SendCertificateRequest(ssl), "SSL_SendCertificateRequest"); }

int main(int argc, char **argv) {
  read_arguments(argc, argv);
  printf("version NSS %s\n", NSS_GetVersion());
  check(NSS_NoDB_Init(NULL), "NSS_NoDB_Init");
  CERTCertificate *ca = read_certificate(ca_file);
  CERTCertTrust trust = {CERTDB_TRUSTED_CA | CERTDB_TRUSTED_CLIENT_CA | CERTDB_VALID_CA, 0, 0};
  check(CERT_ChangeCertTrust(CERT_GetDefaultCertDB(), ca, &trust), "CERT_ChangeCertTrust");
  open_wire();
  ssl = SSL_ImportFD(NULL, wire_layer());
  if (ssl == NULL) fail_nss("SSL_ImportFD");
  PRUint16 version = is_tls13 ? SSL_LIBRARY_VERSION_TLS_1_3 : SSL_LIBRARY_VERSION_TLS_1_2;
  SSLVersionRange versions = {version, version};
  check(SSL_VersionRangeSet(ssl, &versions), "SSL_VersionRangeSet");
  check(SSL_OptionSet(ssl, SSL_ENABLE_RENEGOTIATION, SSL_RENEGOTIATE_REQUIRES_XTN), "SSL_ENABLE_RENEGOTIATION");
  check(SSL_HandshakeCallback(ssl, on_handshake_done, NULL), "SSL_HandshakeCallback");
  check(SSL_OptionSet(ssl, SSL_ENABLE_POST_HANDSHAKE_AUTH, PR_TRUE), "SSL_ENABLE_POST_HANDSHAKE_AUTH");
  check(SSL_AuthCertificateHook(ssl, on_client_certificate, CERT_GetDefaultCertDB()), "SSL_AuthCertificateHook");
  own_certificate = read_certificate(certificate_file);
  own_key = read_key(key_file, own_certificate);
  if (is_server) {
    check(SSL_ConfigServerCert(ssl, own_certificate, own_key, NULL, 0), "SSL_ConfigServerCert");
    check(SSL_ConfigServerSessionIDCache(0, 0, 0, NULL), "SSL_ConfigServerSessionIDCache");
  } else {
    check(SSL_SetURL(ssl, "localhost"), "SSL_SetURL");
    check(SSL_GetClientAuthDataHook(ssl, on_request, NULL), "SSL_GetClientAuthDataHook");
  }
  check(SSL_ResetHandshake(ssl, is_server), "SSL_ResetHandshake");
  run();
}
