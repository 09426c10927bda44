// SPDX-License-Identifier: Apache-2.0
// A collector with several addresses is reached while one of them lives.
#include "metrics/http_post.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <vector>

#include "tests/unit/metrics/collector.h"
#include "tests/unit/metrics/reports.h"

namespace np::metrics {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// An address that answers nothing, as that of a node that is gone: a listener whose queue is full,
// so that the kernel drops what comes.
class Silent {
 public:
  Silent() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_storage name{};
    socklen_t size = SocketAddress::parse("127.0.0.1:0")->to_sockaddr(&name);
    NP_CHECK(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&name), size) == 0);
    NP_CHECK(::listen(listener_.get(), 0) == 0);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&name), &size);
    address_ = SocketAddress::from_sockaddr(reinterpret_cast<sockaddr*>(&name));
    constexpr int kMoreThanFit = 4;
    for (int i = 0; i < kMoreThanFit; ++i) {
      waiting_.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      (void)::connect(waiting_.back().get(), reinterpret_cast<sockaddr*>(&name), size);
    }
  }
  const SocketAddress& address() const { return address_; }

 private:
  Fd listener_;
  SocketAddress address_;
  std::vector<Fd> waiting_;
};

SocketAddress bound_address_of(const Collector& collector) {
  SocketAddress address = *SocketAddress::parse("127.0.0.1:0");
  address.port = collector.port();
  return address;
}

uint16_t peer_port(const Fd& fd) {
  sockaddr_storage name{};
  socklen_t size = sizeof(name);
  if (::getpeername(fd.get(), reinterpret_cast<sockaddr*>(&name), &size) != 0) return 0;
  return SocketAddress::from_sockaddr(reinterpret_cast<sockaddr*>(&name)).port;
}

TEST(ConnectToFirst, ASilentAddressDoesNotUseUpTheTime) {
  const Silent silent, other;
  const Collector collector;
  const std::vector<SocketAddress> addresses = {silent.address(), other.address(),
                                                bound_address_of(collector)};
  const Instant begin = monotonic_now();
  const Fd fd = connect_to_first(addresses, begin + seconds(10));
  EXPECT_EQ(peer_port(fd), collector.port());
  EXPECT_LT(monotonic_now() - begin, seconds(4));
}

TEST(ConnectToFirst, ADeadAddressCostsNoTime) {
  const uint16_t dead_port = Collector().port();
  SocketAddress dead = *SocketAddress::parse("127.0.0.1:0");
  dead.port = dead_port;
  const Collector collector;
  const std::vector<SocketAddress> addresses(20, dead);
  std::vector<SocketAddress> with_one = addresses;
  with_one.push_back(bound_address_of(collector));
  const Instant begin = monotonic_now();
  EXPECT_EQ(peer_port(connect_to_first(with_one, begin + seconds(10))), collector.port());
  EXPECT_FALSE(connect_to_first(addresses, begin + seconds(10)).is_open());
  EXPECT_LT(monotonic_now() - begin, seconds(2)) << "nobody was waited for";
}

TEST(ConnectToFirst, TheFirstOneThatLivesIsTaken) {
  const Collector collector;
  const Silent silent;
  const std::vector<SocketAddress> addresses = {bound_address_of(collector), silent.address()};
  EXPECT_EQ(peer_port(connect_to_first(addresses, monotonic_now() + seconds(10))),
            collector.port());
}

TEST(ConnectToFirst, TheDeadlineHolds) {
  const Silent silent, other;
  const std::vector<SocketAddress> addresses = {silent.address(), other.address()};
  const Instant begin = monotonic_now();
  EXPECT_FALSE(connect_to_first(addresses, begin + milliseconds(600)).is_open());
  const Duration took = monotonic_now() - begin;
  EXPECT_GE(took, milliseconds(550));
  EXPECT_LT(took, seconds(4));
  EXPECT_FALSE(connect_to_first({}, begin + seconds(60)).is_open());
}

}  // namespace
}  // namespace np::metrics
