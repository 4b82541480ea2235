/*
 * A foreign peer on OpenSSL. test/fixtures/foreign-peer.ts describes what it
 * reads and writes.
 *
 * It follows the rule of OpenSSL: a pending write is repeated with the same
 * buffer, and nothing is written while a handshake is in progress.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"

#define CHUNK 16384

static SSL *ssl;
static int descriptor;
static unsigned char out[CHUNK];
static int pending;
static unsigned long long sent, received, expected;
static int stopping, stopped, expecting, is_server;
static int update_due, request_due, requested;

static void fail(const char *what) {
  unsigned long code = ERR_peek_error();
  printf("error %s%s%s\n", what, code ? ": " : "", code ? ERR_reason_error_string(code) : "");
  exit(1);
}

static unsigned char at(unsigned long long offset) {
  return (unsigned char)((offset / 8) >> (8 * (7 - offset % 8)));
}

/* Whether OpenSSL waits for the socket. Anything else is fatal. */
static int waits(int result, const char *what) {
  int error = SSL_get_error(ssl, result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return error;
  if (error == SSL_ERROR_ZERO_RETURN) fail("the peer closed the connection");
  if (error == SSL_ERROR_SYSCALL && errno) fail(strerror(errno));
  fail(what);
  return 0;
}

static void report_client(void) {
  char name[64];
  X509 *peer = SSL_get0_peer_certificate(ssl);
  if (!peer) fail("no certificate has come");
  requested = 0;
  X509_NAME_get_text_by_NID(X509_get_subject_name(peer), NID_commonName, name, sizeof name);
  printf("authenticated %s\n", name);
}

static void on_info(const SSL *s, int where, int value) {
  (void)value;
  static int handshakes;
  if ((where & SSL_CB_HANDSHAKE_DONE) && handshakes++ > 0) printf("renegotiated\n");
  /* The handshake is never done again in TLS 1.3. */
  if (requested && (where & SSL_CB_LOOP) && SSL_get_state(s) == TLS_ST_SR_FINISHED) report_client();
}

static void on_command(const char *line) {
  if (strcmp(line, "renegotiate") == 0) {
    if (!SSL_renegotiate(ssl)) fail("SSL_renegotiate");
  } else if (strcmp(line, "stop") == 0) {
    stopping = 1;
  } else if (strcmp(line, "update") == 0) {
    update_due = 1;
  } else if (strcmp(line, "authenticate") == 0) {
    request_due = 1;
  } else if (sscanf(line, "expect %llu", &expected) == 1) {
    expecting = 1;
  }
}

static int open_socket(const char *port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
  socklen_t size = sizeof address;
  int one = 1;
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  int s = socket(AF_INET, SOCK_STREAM, 0);
  if (is_server) {
    if (bind(s, (struct sockaddr *)&address, size) || listen(s, 1)) fail("listen");
    getsockname(s, (struct sockaddr *)&address, &size);
    printf("listening %d\n", ntohs(address.sin_port));
    s = accept(s, NULL, NULL);
  } else if (connect(s, (struct sockaddr *)&address, size)) {
    fail("connect");
  }
  setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return s;
}

/* Reads all there is. Reading drives each handshake. Returns what OpenSSL waits for. */
static int read_all(void) {
  static unsigned char in[CHUNK];
  for (;;) {
    ERR_clear_error();
    errno = 0;
    int n = SSL_read(ssl, in, sizeof in);
    if (n <= 0) return waits(n, "SSL_read");
    for (int i = 0; i < n; i++, received++) {
      if (in[i] != at(received)) {
        printf("error wrong byte at %llu\n", received);
        exit(1);
      }
    }
    if (pending || !SSL_in_init(ssl)) return SSL_ERROR_WANT_READ;
  }
}

/* Writes once, unless a handshake is in progress. Returns what OpenSSL waits for; 0: nothing to write now. */
static int write_once(void) {
  if (!pending) {
    if (stopping || SSL_in_init(ssl) || SSL_renegotiate_pending(ssl)) return 0;
    for (int i = 0; i < CHUNK; i++) out[i] = at(sent + (unsigned)i);
    pending = 1;
    /* Only now, because OpenSSL refuses it while a write is pending. SSL_write sends it before the data. */
    if (update_due && !SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED)) fail("SSL_key_update");
    update_due = 0;
    if (request_due) {
      SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
      if (!SSL_verify_client_post_handshake(ssl)) fail("SSL_verify_client_post_handshake");
      request_due = 0;
      requested = 1;
    }
  }
  ERR_clear_error();
  errno = 0;
  int n = SSL_write(ssl, out, CHUNK);
  if (n <= 0) return waits(n, "SSL_write");
  pending = 0;
  sent += CHUNK;
  return SSL_ERROR_WANT_WRITE;
}

int main(int argc, char **argv) {
  if (argc != 6 && argc != 7) return 2;
  setvbuf(stdout, NULL, _IOLBF, 0);
  is_server = strcmp(argv[1], "server") == 0;
  printf("version %s\n", OpenSSL_version(OPENSSL_VERSION));
  SSL_CTX *context = SSL_CTX_new(TLS_method());
  SSL_CTX_set_min_proto_version(context, argc == 7 ? TLS1_3_VERSION : 0);
  SSL_CTX_set_max_proto_version(context, argc == 7 ? TLS1_3_VERSION : TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
  SSL_CTX_set_info_callback(context, on_info);
  if (SSL_CTX_use_certificate_chain_file(context, argv[4]) != 1) fail("certificate");
  if (SSL_CTX_use_PrivateKey_file(context, argv[5], SSL_FILETYPE_PEM) != 1) fail("key");
  SSL_CTX_load_verify_locations(context, argv[3], NULL);
  if (is_server) {
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"test", 4);
  } else {
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_post_handshake_auth(context, 1);
  }
  descriptor = open_socket(argv[2]);
  ssl = SSL_new(context);
  SSL_set_fd(ssl, descriptor);
  if (!is_server) SSL_set_tlsext_host_name(ssl, "localhost");
  if ((is_server ? SSL_accept(ssl) : SSL_connect(ssl)) != 1) fail("handshake");
  printf("connected %s\n", SSL_get_cipher(ssl));
  fcntl(descriptor, F_SETFL, O_NONBLOCK);
  for (;;) {
    int reading = read_all();
    int writing = write_once();
    if (stopping && !pending && !stopped) {
      stopped = 1;
      printf("stopped %llu\n", sent);
    }
    if (expecting && received >= expected) {
      expecting = 0;
      printf("received %llu\n", expected);
    }
    struct pollfd watched[2] = {{.fd = 0, .events = POLLIN}, {.fd = descriptor, .events = POLLIN}};
    int more = writing == SSL_ERROR_WANT_WRITE || reading == SSL_ERROR_WANT_WRITE;
    if (more) watched[1].events |= POLLOUT;
    if (poll(watched, 2, SSL_pending(ssl) ? 0 : -1) < 0) fail("poll");
    if (watched[0].revents) read_commands();
  }
}
