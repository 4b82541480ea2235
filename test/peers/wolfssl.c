/*
 * A foreign peer on wolfSSL. If the library was built without secure
 * renegotiation, as Debian's is, the command `renegotiate` is an error.
 */
#define HAS_TLS13
#include "peer.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

static WOLFSSL *ssl;
static int handshaking = 1;
static int handshakes;
/* A server waits for the certificate that it has requested. */
static int requested;

static void check(int result, const char *what) {
  if (result != WOLFSSL_SUCCESS) fail("%s failed", what);
}

/* Whether wolfSSL waits for the peer. Anything else is fatal. */
static int waits(int result, const char *what) {
  char text[WOLFSSL_MAX_ERROR_SZ];
  int error = wolfSSL_get_error(ssl, result);
  if (error == WOLFSSL_ERROR_WANT_READ) return 1;
  if (error == WOLFSSL_ERROR_ZERO_RETURN) fail("the peer has closed the connection");
  fail("%s: %s", what, wolfSSL_ERR_error_string((unsigned long)error, text));
}

static int on_send(WOLFSSL *s, char *data, int size, void *context) {
  (void)s, (void)context;
  wire_send(data, (size_t)size);
  return size;
}

static int on_receive(WOLFSSL *s, char *data, int size, void *context) {
  (void)s, (void)context;
  ssize_t n = wire_receive(data, (size_t)size);
  return n < 0 ? WOLFSSL_CBIO_ERR_WANT_READ : (int)n;
}

static int on_handshake_done(WOLFSSL *s, void *context) {
  (void)s, (void)context;
  if (handshakes++ > 0) printf("renegotiated\n");
  handshaking = 0;
  return 0;
}

static int tls_handshake(void) {
  int result = is_server ? wolfSSL_accept(ssl) : wolfSSL_connect(ssl);
  if (result == WOLFSSL_SUCCESS) return 1;
  return !waits(result, "handshake");
}

static const char *tls_cipher(void) { return wolfSSL_get_cipher(ssl); }

static void report_client(void) {
  WOLFSSL_X509 *peer = wolfSSL_get_peer_certificate(ssl);
  if (peer == NULL) return;
  requested = 0;
  printf("authenticated %s\n", wolfSSL_X509_get_subjectCN(peer));
  wolfSSL_X509_free(peer);
}

static size_t tls_read(unsigned char *data, size_t size) {
  int n = wolfSSL_read(ssl, data, (int)size);
  if (requested) report_client();
  if (n > 0) return (size_t)n;
  waits(n, "wolfSSL_read");
  return 0;
}

static int tls_can_write(void) { return !handshaking; }

static void tls_write(const unsigned char *data, size_t size) {
  int n = wolfSSL_write(ssl, data, (int)size);
  if (n != (int)size) waits(n, "wolfSSL_write");
}

static void tls_renegotiate(void) {
#ifdef HAVE_SECURE_RENEGOTIATION
  handshaking = 1;
  int result = wolfSSL_Rehandshake(ssl);
  if (result != WOLFSSL_SUCCESS) waits(result, "wolfSSL_Rehandshake");
#else
  fail("this wolfSSL has no renegotiation");
#endif
}

static void tls_update(void) {
  int result = wolfSSL_update_keys(ssl);
  if (result != WOLFSSL_SUCCESS) waits(result, "wolfSSL_update_keys");
}

static void tls_authenticate(void) {
  int result = wolfSSL_request_certificate(ssl);
  if (result != WOLFSSL_SUCCESS) waits(result, "wolfSSL_request_certificate");
  requested = 1;
}

static WOLFSSL_METHOD *method(void) {
  if (is_tls13) return is_server ? wolfTLSv1_3_server_method() : wolfTLSv1_3_client_method();
  return is_server ? wolfTLSv1_2_server_method() : wolfTLSv1_2_client_method();
}

int main(int argc, char **argv) {
  read_arguments(argc, argv);
  printf("version wolfSSL %s\n", wolfSSL_lib_version());
  check(wolfSSL_Init(), "wolfSSL_Init");
  WOLFSSL_CTX *context = wolfSSL_CTX_new(method());
  if (context == NULL) fail("wolfSSL_CTX_new failed");
  check(wolfSSL_CTX_use_certificate_chain_file(context, certificate_file), certificate_file);
  check(wolfSSL_CTX_use_PrivateKey_file(context, key_file, WOLFSSL_FILETYPE_PEM), key_file);
  check(wolfSSL_CTX_load_verify_locations(context, ca_file, NULL), ca_file);
  if (is_server) {
    /* Not in the first handshake. */
    if (is_tls13) wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_POST_HANDSHAKE, NULL);
  } else if (is_tls13) {
    if (wolfSSL_CTX_allow_post_handshake_auth(context) != 0) fail("wolfSSL_CTX_allow_post_handshake_auth failed");
  }
#ifdef HAVE_SECURE_RENEGOTIATION
  check(wolfSSL_CTX_UseSecureRenegotiation(context), "wolfSSL_CTX_UseSecureRenegotiation");
#endif
  wolfSSL_CTX_SetIOSend(context, on_send);
  wolfSSL_CTX_SetIORecv(context, on_receive);
  open_wire();
  ssl = wolfSSL_new(context);
  if (ssl == NULL) fail("wolfSSL_new failed");
  if (!is_server) check(wolfSSL_check_domain_name(ssl, "localhost"), "wolfSSL_check_domain_name");
  check(wolfSSL_SetHsDoneCb(ssl, on_handshake_done, NULL), "wolfSSL_SetHsDoneCb");
  run();
}
