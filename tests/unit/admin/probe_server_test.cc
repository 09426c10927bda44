// SPDX-License-Identifier: Apache-2.0
// Probes over real sockets, beside clients that mean no good.
#include "admin/probe_server.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

#include "tests/unit/admin/fixed_health.h"

namespace np::admin {
namespace {

constexpr int kPatienceMs = 5000;

class ProbeServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto listening = ProbeServer::listen(address_, health_);
    ASSERT_TRUE(listening) << listening.error().to_string();
    server_ = std::move(listening).value();
  }
  Fd connect() const {
    sockaddr_storage storage{};
    const socklen_t size = address_.to_sockaddr(&storage);
    Fd fd(::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&storage), size), 0);
    return fd;
  }
  static void say(const Fd& fd, const std::string& text) {
    EXPECT_EQ(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  // Until the other side ends it, or `patience_ms` are over without a byte.
  static std::string hear(const Fd& fd, int patience_ms = kPatienceMs) {
    std::string heard;
    std::array<char, 512> chunk;
    pollfd wait{fd.get(), POLLIN, 0};
    while (::poll(&wait, 1, patience_ms) == 1) {
      const ssize_t got = ::recv(fd.get(), chunk.data(), chunk.size(), 0);
      if (got <= 0) return heard;
      heard.append(chunk.data(), static_cast<size_t>(got));
    }
    return heard + "(silence)";
  }
  // Status and body.
  std::string ask(const std::string& line) const {
    const Fd fd = connect();
    say(fd, line + " HTTP/1.1\r\nHost: node\r\n\r\n");
    const std::string heard = hear(fd);
    const size_t body = heard.find("\r\n\r\n");
    return heard.substr(9, 3) + " " + heard.substr(std::min(body + 4, heard.size()));
  }

  // Tests run beside each other, each in a process: a loopback address of its own.
  static SocketAddress own_address() {
    const auto pid = static_cast<uint32_t>(::getpid());
    const std::string ip = "127." + std::to_string(1 + (pid >> 14U) % 254) + "." +
                           std::to_string((pid >> 7U) % 128) + "." + std::to_string(1 + pid % 128);
    return *SocketAddress::parse(ip + ":25921");
  }
  const SocketAddress address_ = own_address();
  FixedHealth health_;
  std::unique_ptr<ProbeServer> server_;
};

TEST_F(ProbeServerTest, AnswersFromTheHealthSourceAndNothingElse) {
  server_->start();
  health_.ready = "starting";
  EXPECT_EQ(ask("GET /livez"), "200 ok\n");
  EXPECT_EQ(ask("GET /livez?verbose"), "200 ok\n");
  EXPECT_EQ(ask("GET /readyz"), "503 starting\n");
  EXPECT_EQ(ask("HEAD /readyz"), "503 ");
  EXPECT_EQ(ask("GET /metrics"), "404 there is /livez and /readyz\n");
  EXPECT_EQ(ask("POST /livez"), "405 GET only\n");
  EXPECT_EQ(ask("nonsense"), "405 GET only\n");
}

TEST_F(ProbeServerTest, NothingIsReadBeforeItIsStarted) {
  const Fd early = connect();
  say(early, "GET /livez HTTP/1.1\r\n\r\n");
  EXPECT_EQ(hear(early, 300), "(silence)");
  server_->start();
  EXPECT_NE(hear(early).find("200 OK"), std::string::npos);
}

TEST_F(ProbeServerTest, SilentAndEndlessClientsDelayNobody) {
  server_->start();
  std::vector<Fd> clients;
  for (int i = 0; i < 300; ++i) {
    clients.push_back(connect());
    if (i % 2 == 0) say(clients.back(), "GET /livez HTTP/1.1\r\nX: ");
  }
  const Instant before = monotonic_now();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(ask("GET /livez"), "200 ok\n");
  EXPECT_LT(monotonic_now() - before, std::chrono::milliseconds(500));
  EXPECT_EQ(hear(clients.back()), "") << "given up after a while";
}

TEST_F(ProbeServerTest, AHeadIsShort) {
  server_->start();
  const Fd fd = connect();
  say(fd, std::string(8192, 'a'));
  EXPECT_EQ(hear(fd), "");
}

TEST_F(ProbeServerTest, AHeadMayComeInPieces) {
  server_->start();
  const Fd fd = connect();
  say(fd, "GET /li");
  EXPECT_EQ(hear(fd, 100), "(silence)");
  say(fd, "vez HTTP/1.0\r\n\r");
  EXPECT_EQ(hear(fd, 100), "(silence)");
  say(fd, "\n");
  EXPECT_NE(hear(fd).find("200 OK"), std::string::npos);
}

TEST_F(ProbeServerTest, SaysWhichAddressIsTaken) {
  const auto second = ProbeServer::listen(address_, health_);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().to_string().find(address_.to_string()), std::string::npos);
}

}  // namespace
}  // namespace np::admin
