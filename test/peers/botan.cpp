/*
 * A foreign peer on Botan 2.
 */
#include "peer.h"

#include <botan/auto_rng.h>
#include <botan/credentials_manager.h>
#include <botan/data_src.h>
#include <botan/pkcs8.h>
#include <botan/tls_alert.h>
#include <botan/tls_callbacks.h>
#include <botan/tls_client.h>
#include <botan/tls_messages.h>
#include <botan/tls_policy.h>
#include <botan/tls_server.h>
#include <botan/tls_session_manager.h>
#include <botan/version.h>
#include <botan/x509cert.h>
#include <algorithm>
#include <deque>
#include <memory>
#include <string>

using namespace Botan;

static std::unique_ptr<TLS::Channel> channel;
static std::deque<unsigned char> decrypted;
static std::string cipher;
static bool handshaking = true;
static int handshakes;

class Events : public TLS::Callbacks {
public:
  void tls_emit_data(const uint8_t data[], size_t size) override { wire_send(data, size); }

  void tls_record_received(uint64_t, const uint8_t data[], size_t size) override {
    decrypted.insert(decrypted.end(), data, data + size);
  }

  void tls_alert(TLS::Alert alert) override {
    if (alert.type() == TLS::Alert::NO_RENEGOTIATION) {
      printf("refused\n");
    } else {
      fail("alert %s", alert.type_string().c_str());
    }
  }

  bool tls_session_established(const TLS::Session &session) override {
    cipher = session.ciphersuite().to_string();
    return false;
  }

  void tls_inspect_handshake_msg(const TLS::Handshake_Message &) override { handshaking = true; }

  void tls_session_activated() override {
    if (handshakes++ > 0) printf("renegotiated\n");
    handshaking = false;
  }
};

class Credentials : public Credentials_Manager {
public:
  std::vector<Certificate_Store *> trusted_certificate_authorities(const std::string &, const std::string &) override {
    return {&authorities};
  }

  std::vector<X509_Certificate> cert_chain(const std::vector<std::string> &types, const std::string &role,
                                           const std::string &) override {
    const bool ours = role == "tls-server" && std::find(types.begin(), types.end(), key->algo_name()) != types.end();
    return ours ? std::vector<X509_Certificate>{certificate} : std::vector<X509_Certificate>{};
  }

  Private_Key *private_key_for(const X509_Certificate &, const std::string &, const std::string &) override {
    return key.get();
  }

private:
  static std::unique_ptr<Private_Key> load_key() {
    DataSource_Stream source(key_file);
    return PKCS8::load_key(source);
  }

  Certificate_Store_In_Memory authorities{X509_Certificate(ca_file)};
  X509_Certificate certificate{certificate_file};
  std::unique_ptr<Private_Key> key = load_key();
};

class TLS12WithRenegotiation : public TLS::Policy {
public:
  bool allow_tls10() const override { return false; }
  bool allow_tls11() const override { return false; }
  bool allow_client_initiated_renegotiation() const override { return true; }
  bool allow_server_initiated_renegotiation() const override { return true; }
  bool require_cert_revocation_info() const override { return false; }
};

static void receive() {
  static unsigned char buffer[CHUNK];
  const ssize_t n = wire_receive(buffer, sizeof buffer);
  if (n > 0) channel->received_data(buffer, size_t(n));
}

static int tls_handshake() {
  receive();
  return !handshaking;
}

static const char *tls_cipher() { return cipher.c_str(); }

static size_t tls_read(unsigned char *data, size_t size) {
  if (decrypted.empty()) receive();
  const size_t n = std::min(size, decrypted.size());
  std::copy_n(decrypted.begin(), n, data);
  decrypted.erase(decrypted.begin(), decrypted.begin() + ssize_t(n));
  return n;
}

static int tls_can_write() { return !handshaking; }

static void tls_write(const unsigned char *data, size_t size) { channel->send(data, size); }

/* If the peer has begun, that serves both. */
static void tls_renegotiate() {
  if (!handshaking) channel->renegotiate();
}

int main(int argc, char **argv) {
  read_arguments(argc, argv);
  printf("version Botan %s\n", short_version_cstr());
  try {
    AutoSeeded_RNG random;
    Events events;
    Credentials credentials;
    TLS12WithRenegotiation policy;
    TLS::Session_Manager_Noop sessions;
    open_wire();
    if (is_server) {
      channel.reset(new TLS::Server(events, sessions, credentials, policy, random));
    } else {
      channel.reset(new TLS::Client(events, sessions, credentials, policy, random, TLS::Server_Information("localhost"),
                                    TLS::Protocol_Version::TLS_V12));
    }
    run();
  } catch (const std::exception &error) {
    fail("%s", error.what());
  }
}
