/*
 * A foreign peer on mbedTLS 2.28.
 */
#include "peer.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>

static mbedtls_ssl_context ssl;
/* How many handshakes have derived keys, and how many of them were reported. */
static int keyed, reported = 1;

static void check(int result, const char *what) {
  char text[128];
  if (result == 0) return;
  mbedtls_strerror(result, text, sizeof text);
  fail("%s: %s", what, text);
}

static int on_send(void *context, const unsigned char *data, size_t size) {
  (void)context;
  wire_send(data, size);
  return (int)size;
}

static int on_receive(void *context, unsigned char *data, size_t size) {
  (void)context;
  ssize_t n = wire_receive(data, size);
  return n < 0 ? MBEDTLS_ERR_SSL_WANT_READ : (int)n;
}

static int on_keys(void *context, const unsigned char *secret, const unsigned char *block, size_t mac, size_t key,
                   size_t iv) {
  (void)context, (void)secret, (void)block, (void)mac, (void)key, (void)iv;
  keyed++;
  return 0;
}

static void report(void) {
  for (; reported < keyed && ssl.state == MBEDTLS_SSL_HANDSHAKE_OVER; reported++) printf("renegotiated\n");
}

static int tls_handshake(void) {
  int result = mbedtls_ssl_handshake(&ssl);
  if (result == MBEDTLS_ERR_SSL_WANT_READ) return 0;
  check(result, "mbedtls_ssl_handshake");
  return 1;
}

static const char *tls_cipher(void) { return mbedtls_ssl_get_ciphersuite(&ssl); }

static size_t tls_read(unsigned char *data, size_t size) {
  int result = mbedtls_ssl_read(&ssl, data, size);
  report();
  if (result > 0) return (size_t)result;
  if (result == 0 || result == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) fail("the peer has closed the connection");
  if (result != MBEDTLS_ERR_SSL_WANT_READ) check(result, "mbedtls_ssl_read");
  return 0;
}

/* mbedtls_ssl_write would drive the handshake, and fail when it meets data. */
static int tls_can_write(void) { return ssl.state == MBEDTLS_SSL_HANDSHAKE_OVER; }

static void tls_write(const unsigned char *data, size_t size) {
  for (size_t written = 0; written < size;) {
    int result = mbedtls_ssl_write(&ssl, data + written, size - written);
    if (result < 0) check(result, "mbedtls_ssl_write");
    written += (size_t)result;
  }
}

static void tls_renegotiate(void) {
  int result = mbedtls_ssl_renegotiate(&ssl);
  if (result != MBEDTLS_ERR_SSL_WANT_READ && result != MBEDTLS_ERR_SSL_WAITING_SERVER_HELLO_RENEGO)
    check(result, "mbedtls_ssl_renegotiate");
}

int main(int argc, char **argv) {
  mbedtls_entropy_context entropy;
  mbedtls_ctr_drbg_context random;
  mbedtls_ssl_config config;
  mbedtls_x509_crt ca, certificate;
  mbedtls_pk_context key;
  read_arguments(argc, argv);
  char version[16];
  mbedtls_version_get_string(version);
  printf("version mbedTLS %s\n", version);
  mbedtls_entropy_init(&entropy);
  mbedtls_ctr_drbg_init(&random);
  mbedtls_ssl_config_init(&config);
  mbedtls_x509_crt_init(&ca);
  mbedtls_x509_crt_init(&certificate);
  mbedtls_pk_init(&key);
  mbedtls_ssl_init(&ssl);
  check(mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0), "mbedtls_ctr_drbg_seed");
  check(mbedtls_x509_crt_parse_file(&ca, ca_file), ca_file);
  check(mbedtls_x509_crt_parse_file(&certificate, certificate_file), certificate_file);
  check(mbedtls_pk_parse_keyfile(&key, key_file, NULL), key_file);
  check(mbedtls_ssl_config_defaults(&config, is_server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT,
                                    MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT),
        "mbedtls_ssl_config_defaults");
  mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
  mbedtls_ssl_conf_ca_chain(&config, &ca, NULL);
  if (is_server) check(mbedtls_ssl_conf_own_cert(&config, &certificate, &key), "mbedtls_ssl_conf_own_cert");
  mbedtls_ssl_conf_authmode(&config, is_server ? MBEDTLS_SSL_VERIFY_NONE : MBEDTLS_SSL_VERIFY_REQUIRED);
  mbedtls_ssl_conf_renegotiation(&config, MBEDTLS_SSL_RENEGOTIATION_ENABLED);
  /* By default, mbedTLS gives up when more than 16 data records arrive between its request and the answer. */
  mbedtls_ssl_conf_renegotiation_enforced(&config, MBEDTLS_SSL_RENEGOTIATION_NOT_ENFORCED);
  mbedtls_ssl_conf_export_keys_cb(&config, on_keys, NULL);
  open_wire();
  check(mbedtls_ssl_setup(&ssl, &config), "mbedtls_ssl_setup");
  if (!is_server) check(mbedtls_ssl_set_hostname(&ssl, "localhost"), "mbedtls_ssl_set_hostname");
  mbedtls_ssl_set_bio(&ssl, NULL, on_send, on_receive, NULL);
  run();
}
