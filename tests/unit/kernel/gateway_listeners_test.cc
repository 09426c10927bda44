// SPDX-License-Identifier: Apache-2.0
#include "kernel/gateway_listeners.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

namespace np::kernel {
namespace {

// A port that is free now.
uint16_t free_port() {
  const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage address{};
  const SocketAddress any{IpAddress::v4(127, 0, 0, 1), 0};
  socklen_t size = any.to_sockaddr(&address);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return SocketAddress::from_sockaddr(reinterpret_cast<sockaddr*>(&address)).port;
}

TEST(GatewayListeners, KeepsWhatStaysAndDropsWhatGoes) {
  const SocketAddress one{IpAddress::v4(127, 0, 0, 1), free_port()};
  const SocketAddress two{IpAddress::v4(127, 0, 0, 1), free_port()};
  GatewayListeners listeners;
  ASSERT_TRUE(listeners.set({one}).has_value());
  const int fd = listeners.sockets().front().fd.get();
  ASSERT_TRUE(listeners.set({two, one}).has_value());
  ASSERT_EQ(listeners.sockets().size(), 2U);
  EXPECT_EQ(listeners.sockets().front().fd.get(), fd);
  ASSERT_TRUE(listeners.set({two}).has_value());
  ASSERT_EQ(listeners.sockets().size(), 1U);
  EXPECT_EQ(listeners.sockets().front().bind, two);
}

TEST(GatewayListeners, NamesTheAddressThatCannotBeBoundAndOpensTheRest) {
  const SocketAddress good{IpAddress::v4(127, 0, 0, 1), free_port()};
  const SocketAddress foreign{IpAddress::v4(192, 0, 2, 77), 8080};
  GatewayListeners listeners;
  const Result<void> result = listeners.set({foreign, good});
  ASSERT_FALSE(result.has_value());
  EXPECT_NE(result.error().to_string().find("192.0.2.77:8080"), std::string::npos);
  ASSERT_EQ(listeners.sockets().size(), 1U);
  EXPECT_EQ(listeners.sockets().front().bind, good);
}

TEST(GatewayListeners, AllAddressesOfBothFamiliesOnOnePort) {
  const uint16_t port = free_port();
  const SocketAddress all{IpAddress{}, port}, all_v4{IpAddress::v4(0, 0, 0, 0), port};
  GatewayListeners listeners;
  EXPECT_TRUE(listeners.set({all, all_v4}).has_value());
  EXPECT_EQ(listeners.sockets().size(), 2U);
}

bool accepts(const SocketAddress& bind) {
  const Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage address{};
  const socklen_t size = bind.to_sockaddr(&address);
  return ::connect(client.get(), reinterpret_cast<sockaddr*>(&address), size) == 0;
}

TEST(GatewayListeners, ListensAgainAfterAWorkerThatDrained) {
  const SocketAddress bind{IpAddress::v4(127, 0, 0, 1), free_port()};
  GatewayListeners listeners;
  ASSERT_TRUE(listeners.set({bind}).has_value());
  EXPECT_TRUE(accepts(bind));
  const Fd copy(::fcntl(listeners.sockets().front().fd.get(), F_DUPFD_CLOEXEC, 0));
  ASSERT_EQ(::shutdown(copy.get(), SHUT_RD), 0);
  EXPECT_FALSE(accepts(bind));
  listeners.listen_again();
  EXPECT_TRUE(accepts(bind));
  listeners.listen_again();  // those that do listen go on
  EXPECT_TRUE(accepts(bind));
}

}  // namespace
}  // namespace np::kernel
