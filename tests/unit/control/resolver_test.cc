// SPDX-License-Identifier: Apache-2.0
// The resolver against a DNS server of the test's own, on loopback.
#include "control/resolver.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <map>

#include "base/fd.h"

namespace np::control {
namespace {

using std::chrono::seconds;

constexpr uint16_t kTypeA = 1;

void append_u16(std::string& out, unsigned value) {
  out += static_cast<char>((value >> 8U) & 0xffU);
  out += static_cast<char>(value & 0xffU);
}

// Answers A questions from a table with one time to live, AAAA with nothing, unknown names with
// NXDOMAIN; `is_silent`: not at all. RFC 1035 4.1.
class DnsServer {
 public:
  std::map<std::string, std::vector<IpAddress>> names;
  unsigned time_to_live = 60;
  bool is_silent = false;
  int questions = 0;

  DnsServer() : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(fd_.get(), generic, length), 0);
    EXPECT_EQ(::getsockname(fd_.get(), generic, &length), 0);
    port_ = ntohs(address.sin_port);
  }

  int fd() const { return fd_.get(); }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  void serve() {
    std::array<char, 1500> packet;
    sockaddr_storage from{};
    socklen_t length = sizeof(from);
    auto* generic = reinterpret_cast<sockaddr*>(&from);
    ssize_t got = 0;
    while ((got = ::recvfrom(fd_.get(), packet.data(), packet.size(), 0, generic, &length)) > 0) {
      ++questions;
      if (is_silent) continue;
      const std::string answer = answer_to(std::string(packet.data(), static_cast<size_t>(got)));
      EXPECT_GT(::sendto(fd_.get(), answer.data(), answer.size(), 0, generic, length), 0);
    }
  }

 private:
  std::string answer_to(const std::string& question) const {
    size_t at = 12;
    std::string name;
    while (question[at] != 0) {
      const auto length = static_cast<size_t>(question[at]);
      name += (name.empty() ? "" : ".") + question.substr(at + 1, length);
      at += length + 1;
    }
    const auto type = static_cast<uint16_t>(question[at + 2]);
    const auto known = names.find(name);
    const bool is_a = type == kTypeA && known != names.end();
    const size_t count = is_a ? known->second.size() : 0;
    std::string out = question.substr(0, 2);
    append_u16(out, known == names.end() ? 0x8183 : 0x8180);
    append_u16(out, 1);
    append_u16(out, static_cast<unsigned>(count));
    append_u16(out, 0);
    append_u16(out, 0);
    out += question.substr(12, at + 5 - 12);
    for (size_t i = 0; i < count; ++i) {
      append_u16(out, 0xc00c);  // the name of the question
      append_u16(out, kTypeA);
      append_u16(out, 1);
      append_u16(out, 0);
      append_u16(out, time_to_live);
      append_u16(out, 4);
      const auto& bytes = known->second[i].bytes;
      out.append(reinterpret_cast<const char*>(bytes.data()) + 12, 4);
    }
    return out;
  }

  Fd fd_;
  uint16_t port_ = 0;
};

IpAddress ip(const char* text) {
  return *IpAddress::parse(text);
}

class ResolverTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ResolverOptions options;
    options.servers = server_.address();
    auto created = Resolver::create(options);
    ASSERT_TRUE(created);
    resolver_ = std::move(created).value();
  }

  // Runs resolver and server at time `now` until nothing moves for 50 ms.
  void settle(Instant now) {
    resolver_->on_poll({}, now);
    for (;;) {
      std::vector<pollfd> polls = {{server_.fd(), POLLIN, 0}};
      resolver_->append_polls(polls);
      if (::poll(polls.data(), polls.size(), 50) <= 0) return;
      server_.serve();
      resolver_->on_poll(std::span<const pollfd>(polls).subspan(1), now);
    }
  }

  DnsServer server_;
  std::unique_ptr<Resolver> resolver_;
  Instant start_ = monotonic_now();
};

TEST_F(ResolverTest, ResolvesTheNamesItWasGiven) {
  server_.names["one.test"] = {ip("192.0.2.2"), ip("192.0.2.1")};
  server_.names["two.test"] = {ip("192.0.2.9")};
  resolver_->set_names({"one.test", "two.test"}, start_);
  settle(start_);
  EXPECT_TRUE(resolver_->take_changed());
  EXPECT_FALSE(resolver_->take_changed());
  const policy::DnsAnswers expected = {{"one.test", {ip("192.0.2.1"), ip("192.0.2.2")}},
                                       {"two.test", {ip("192.0.2.9")}}};
  EXPECT_EQ(resolver_->answers(), expected);
}

TEST_F(ResolverTest, AsksAgainWhenTheTimeToLiveIsOver) {
  server_.names["one.test"] = {ip("192.0.2.1")};
  resolver_->set_names({"one.test"}, start_);
  settle(start_);
  (void)resolver_->take_changed();
  const int asked = server_.questions;
  settle(start_ + seconds(59));
  EXPECT_EQ(server_.questions, asked);
  EXPECT_EQ(resolver_->next_deadline(start_), start_ + seconds(60));
  server_.names["one.test"] = {ip("192.0.2.7")};
  settle(start_ + seconds(60));
  EXPECT_TRUE(resolver_->take_changed());
  EXPECT_EQ(resolver_->answers().at("one.test"), std::vector{ip("192.0.2.7")});
}

TEST_F(ResolverTest, TheTimeToLiveIsBounded) {
  server_.time_to_live = 0;
  server_.names["one.test"] = {ip("192.0.2.1")};
  resolver_->set_names({"one.test"}, start_);
  settle(start_);
  EXPECT_EQ(resolver_->next_deadline(start_), start_ + seconds(5));
}

TEST_F(ResolverTest, TheSameAnswerAgainIsNoChange) {
  server_.names["one.test"] = {ip("192.0.2.1")};
  resolver_->set_names({"one.test"}, start_);
  settle(start_);
  (void)resolver_->take_changed();
  settle(start_ + seconds(61));
  EXPECT_FALSE(resolver_->take_changed());
}

TEST_F(ResolverTest, TheLastGoodAnswerIsKept) {
  server_.names["one.test"] = {ip("192.0.2.1")};
  resolver_->set_names({"one.test"}, start_);
  settle(start_);
  (void)resolver_->take_changed();
  server_.names.clear();
  settle(start_ + seconds(61));
  EXPECT_FALSE(resolver_->take_changed());
  EXPECT_EQ(resolver_->answers().at("one.test"), std::vector{ip("192.0.2.1")});
  EXPECT_EQ(resolver_->next_deadline(start_ + seconds(61)), start_ + seconds(66));
}

TEST_F(ResolverTest, ANameThatPolicyForgotIsForgotten) {
  server_.names["one.test"] = {ip("192.0.2.1")};
  resolver_->set_names({"one.test"}, start_);
  settle(start_);
  resolver_->set_names({}, start_);
  EXPECT_TRUE(resolver_->answers().empty());
  EXPECT_EQ(resolver_->next_deadline(start_), kNever);
}

TEST_F(ResolverTest, AnAnswerForAForgottenNameIsDropped) {
  server_.names["one.test"] = {ip("192.0.2.1")};
  resolver_->set_names({"one.test"}, start_);
  resolver_->on_poll({}, start_);  // asked, not answered
  resolver_->set_names({}, start_);
  settle(start_);
  EXPECT_FALSE(resolver_->take_changed());
  EXPECT_TRUE(resolver_->answers().empty());
}

TEST_F(ResolverTest, GoesWhileAQuestionIsOpen) {
  server_.is_silent = true;
  resolver_->set_names({"one.test"}, start_);
  settle(start_);
  resolver_.reset();
}

}  // namespace
}  // namespace np::control
