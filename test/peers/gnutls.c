/*
 * A foreign peer on GnuTLS.
 */
#define HAS_TLS13
#include "peer.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

static gnutls_session_t session;
static int handshaking = 1;
/* A server waits for the certificate that it has requested. */
static int requested;

static void check(int result, const char *what) {
  if (result >= 0) return;
  if (result == GNUTLS_E_FATAL_ALERT_RECEIVED)
    fail("%s: alert %s", what, gnutls_alert_get_name(gnutls_alert_get(session)));
  fail("%s: %s", what, gnutls_strerror(result));
}

static ssize_t on_send(gnutls_transport_ptr_t context, const void *data, size_t size) {
  (void)context;
  wire_send(data, size);
  return (ssize_t)size;
}

static ssize_t on_receive(gnutls_transport_ptr_t context, void *data, size_t size) {
  (void)context;
  ssize_t n = wire_receive(data, size);
  if (n < 0) gnutls_transport_set_errno(session, EAGAIN);
  return n;
}

/* Drives a handshake. Data that comes before the answer is left for gnutls_record_recv. */
static int tls_handshake(void) {
  int result = gnutls_handshake(session);
  if (result == GNUTLS_E_AGAIN || result == GNUTLS_E_GOT_APPLICATION_DATA) return 0;
  check(result, "gnutls_handshake");
  handshaking = 0;
  return 1;
}

static const char *tls_cipher(void) { return gnutls_ciphersuite_get(session); }

static void report_client(void) {
  unsigned int count;
  char name[64];
  size_t size = sizeof name;
  const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
  gnutls_x509_crt_t certificate;
  if (chain == NULL) fail("no certificate has come");
  check(gnutls_x509_crt_init(&certificate), "gnutls_x509_crt_init");
  check(gnutls_x509_crt_import(certificate, chain, GNUTLS_X509_FMT_DER), "gnutls_x509_crt_import");
  check(gnutls_x509_crt_get_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &size),
        "gnutls_x509_crt_get_dn_by_oid");
  gnutls_x509_crt_deinit(certificate);
  printf("authenticated %s\n", name);
}

static size_t tls_read(unsigned char *data, size_t size) {
  if (requested) {
    int result = gnutls_reauth(session, 0);
    if (result == GNUTLS_E_AGAIN) return 0;
    if (result != GNUTLS_E_GOT_APPLICATION_DATA) {
      check(result, "gnutls_reauth");
      requested = 0;
      report_client();
    }
  }
  if (handshaking) {
    int result = gnutls_handshake(session);
    if (result == 0) {
      handshaking = 0;
      printf("renegotiated\n");
    } else if (result == GNUTLS_E_WARNING_ALERT_RECEIVED &&
               gnutls_alert_get(session) == GNUTLS_A_NO_RENEGOTIATION) {
      handshaking = 0;
      printf("refused\n");
    } else if (result != GNUTLS_E_GOT_APPLICATION_DATA) {
      if (result != GNUTLS_E_AGAIN) check(result, "gnutls_handshake");
      return 0;
    }
  }
  ssize_t n = gnutls_record_recv(session, data, size);
  if (n > 0) return (size_t)n;
  if (n == 0) fail("the peer has closed the connection");
  if (n == GNUTLS_E_REHANDSHAKE) {
    handshaking = 1;
    return tls_read(data, size);
  }
  if (n == GNUTLS_E_REAUTH_REQUEST) {
    check(gnutls_reauth(session, 0), "gnutls_reauth");
    return 0;
  }
  if (n == GNUTLS_E_WARNING_ALERT_RECEIVED && gnutls_alert_get(session) == GNUTLS_A_NO_RENEGOTIATION) {
    printf("refused\n");
  } else if (n != GNUTLS_E_AGAIN) {
    check((int)n, "gnutls_record_recv");
  }
  return 0;
}

static int tls_can_write(void) { return !handshaking; }

static void tls_write(const unsigned char *data, size_t size) {
  for (size_t written = 0; written < size;) {
    ssize_t n = gnutls_record_send(session, data + written, size - written);
    if (n < 0) check((int)n, "gnutls_record_send");
    written += (size_t)n;
  }
}

/* A server asks, and its handshake begins when the answer comes. A client begins at once. */
static void tls_renegotiate(void) {
  if (is_server) {
    check(gnutls_rehandshake(session), "gnutls_rehandshake");
  } else {
    handshaking = 1;
  }
}

static void tls_update(void) {
  check(gnutls_session_key_update(session, GNUTLS_KU_PEER), "gnutls_session_key_update");
}

static void tls_authenticate(void) {
  gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
  gnutls_session_set_verify_cert(session, NULL, 0);
  requested = 1;
}

int main(int argc, char **argv) {
  gnutls_certificate_credentials_t credentials;
  read_arguments(argc, argv);
  printf("version GnuTLS %s\n", gnutls_check_version(NULL));
  check(gnutls_certificate_allocate_credentials(&credentials), "gnutls_certificate_allocate_credentials");
  check(gnutls_certificate_set_x509_key_file(credentials, certificate_file, key_file, GNUTLS_X509_FMT_PEM),
        certificate_file);
  check(gnutls_certificate_set_x509_trust_file(credentials, ca_file, GNUTLS_X509_FMT_PEM), ca_file);
  open_wire();
  unsigned int role = is_server ? GNUTLS_SERVER : GNUTLS_CLIENT;
  check(gnutls_init(&session, role | GNUTLS_NONBLOCK | GNUTLS_POST_HANDSHAKE_AUTH), "gnutls_init");
  const char *version = is_tls13 ? "NORMAL:-VERS-ALL:+VERS-TLS1.3" : "NORMAL:-VERS-ALL:+VERS-TLS1.2:%SAFE_RENEGOTIATION";
  check(gnutls_priority_set_direct(session, version, NULL),
        "gnutls_priority_set_direct");
  check(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials), "gnutls_credentials_set");
  if (!is_server) {
    gnutls_server_name_set(session, GNUTLS_NAME_DNS, "localhost", strlen("localhost"));
    gnutls_session_set_verify_cert(session, "localhost", 0);
  }
  gnutls_handshake_set_timeout(session, GNUTLS_INDEFINITE_TIMEOUT);
  gnutls_transport_set_push_function(session, on_send);
  gnutls_transport_set_pull_function(session, on_receive);
  run();
}
