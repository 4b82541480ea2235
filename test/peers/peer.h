/*
 * What all foreign peers in C and C++ share: the commands, the data, the socket
 * and the loop. test/fixtures/foreign-peer.ts describes what they read and write.
 *
 * A peer includes this file, defines the functions below that begin with `tls_`,
 * and calls `run` from `main`. A peer that can use TLS 1.3 defines HAS_TLS13 first,
 * and the two functions that come with it.
 *
 * A library never sees a socket that is full: what the kernel does not take is
 * queued here, and no more data is given to the library until the queue is
 * empty. So no library has to repeat a write, and its handshake messages come
 * after the data that it has written before.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "commands.h"

#define CHUNK 16384

/* The command line. */
static int is_server, is_tls13;
static const char *port, *ca_file, *certificate_file, *key_file;

static int wire;
static unsigned char *queue;
static size_t queued;
static unsigned long long sent, received, expected;
static int stopping, stopped, expecting;

/* Drives the first handshake. Returns whether it is complete. */
static int tls_handshake(void);
/* The name of the cipher suite. */
static const char *tls_cipher(void);
/* Reads, and drives later handshakes. Returns the number of bytes. 0: nothing has come. */
static size_t tls_read(unsigned char *data, size_t size);
/* Whether data can be written now. */
static int tls_can_write(void);
static void tls_write(const unsigned char *data, size_t size);
static void tls_renegotiate(void);
#ifdef HAS_TLS13
/* Updates the keys, and requests the same of the other end. */
static void tls_update(void);
/* On a server: requests a certificate. */
static void tls_authenticate(void);
#endif

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
  va_list values;
  va_start(values, format);
  printf("error ");
  vprintf(format, values);
  printf("\n");
  exit(1);
}

/* Gives the kernel what it takes of the queue. */
static void flush_queue(void) {
  size_t taken = 0;
  while (taken < queued) {
    ssize_t n = send(wire, queue + taken, queued - taken, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) fail("%s", strerror(errno));
    if (n < 0) break;
    taken += (size_t)n;
  }
  queued -= taken;
  memmove(queue, queue + taken, queued);
}

/* Sends what the library has encrypted. */
static void wire_send(const void *data, size_t size) {
  queue = (unsigned char *)realloc(queue, queued + size);
  memcpy(queue + queued, data, size);
  queued += size;
  flush_queue();
}

/* Receives for the library. Returns -1 if nothing has come. */
static ssize_t wire_receive(void *data, size_t size) {
  ssize_t n = recv(wire, data, size, 0);
  if (n < 0 && errno != EAGAIN) fail("%s", strerror(errno));
  if (n == 0) fail("the connection was closed");
  return n;
}

static void open_wire(void) {
  struct sockaddr_in address;
  socklen_t size = sizeof address;
  int one = 1;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = htons((unsigned short)atoi(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  wire = socket(AF_INET, SOCK_STREAM, 0);
  if (is_server) {
    if (bind(wire, (struct sockaddr *)&address, size) || listen(wire, 1)) fail("listen: %s", strerror(errno));
    getsockname(wire, (struct sockaddr *)&address, &size);
    printf("listening %d\n", ntohs(address.sin_port));
    wire = accept(wire, NULL, NULL);
  } else if (connect(wire, (struct sockaddr *)&address, size)) {
    fail("connect: %s", strerror(errno));
  }
  setsockopt(wire, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  fcntl(wire, F_SETFL, O_NONBLOCK);
}

/* Each byte of the data tells its place: see test/fixtures/counted.ts. */
static unsigned char byte_at(unsigned long long offset) {
  return (unsigned char)((offset / 8) >> (8 * (7 - offset % 8)));
}

static size_t read_some(void) {
  static unsigned char in[CHUNK];
  size_t size = tls_read(in, sizeof in);
  for (size_t i = 0; i < size; i++, received++) {
    if (in[i] != byte_at(received)) fail("wrong byte at %llu", received);
  }
  return size;
}

static size_t write_some(void) {
  static unsigned char out[CHUNK];
  if (stopping || queued > 0 || !tls_can_write()) return 0;
  for (size_t i = 0; i < CHUNK; i++) out[i] = byte_at(sent + i);
  tls_write(out, CHUNK);
  sent += CHUNK;
  return CHUNK;
}

static void on_command(const char *line) {
  if (strcmp(line, "renegotiate") == 0) {
    tls_renegotiate();
  } else if (strcmp(line, "stop") == 0) {
    stopping = 1;
  } else if (sscanf(line, "expect %llu", &expected) == 1) {
    expecting = 1;
#ifdef HAS_TLS13
  } else if (strcmp(line, "update") == 0) {
    tls_update();
  } else if (strcmp(line, "authenticate") == 0) {
    tls_authenticate();
#endif
  } else {
    fail("unknown command %s", line);
  }
}

/* Waits until something can be done. `busy`: the library may have more at once. */
static void wait_for_events(int busy, int commands) {
  struct pollfd watched[2];
  memset(watched, 0, sizeof watched);
  watched[0].fd = wire;
  watched[0].events = (short)(POLLIN | (queued > 0 ? POLLOUT : 0));
  watched[1].fd = commands ? 0 : -1;
  watched[1].events = POLLIN;
  if (poll(watched, 2, busy ? 0 : -1) < 0) fail("poll: %s", strerror(errno));
  if (watched[0].revents & POLLOUT) flush_queue();
  if (watched[1].revents) read_commands();
}

static void read_arguments(int argc, char **argv) {
  if (argc != 6 && argc != 7) exit(2);
  setvbuf(stdout, NULL, _IOLBF, 0);
  is_server = strcmp(argv[1], "server") == 0;
  port = argv[2];
  ca_file = argv[3];
  certificate_file = argv[4];
  key_file = argv[5];
  is_tls13 = argc == 7;
}

static void run(void) {
  while (!tls_handshake()) wait_for_events(0, 0);
  printf("connected %s\n", tls_cipher());
  for (;;) {
    size_t moved = read_some() + write_some();
    if (stopping && queued == 0 && !stopped) {
      stopped = 1;
      printf("stopped %llu\n", sent);
    }
    if (expecting && received >= expected) {
      expecting = 0;
      printf("received %llu\n", expected);
    }
    wait_for_events(moved > 0, 1);
  }
}
