// SPDX-License-Identifier: Apache-2.0
// The whole capture path with real namespaces and sockets, for both hooks and both kinds of pod.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "bpf/capture_fixture.h"

namespace np::kernel {
namespace {

struct Shape {
  PodKind kind;
  Hook hook;
};

class CapturePath : public CaptureFixture, public ::testing::WithParamInterface<Shape> {
 protected:
  void SetUp() override {
    CaptureFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (GetParam().hook == Hook::kTcx && !has_tcx()) GTEST_SKIP() << "this kernel has no tcx";
    add_pod(GetParam().kind, GetParam().hook);
  }
};

std::string receive_all(int fd) {
  std::string all;
  char buffer[4096];
  for (ssize_t got; (got = ::recv(fd, buffer, sizeof(buffer), 0)) > 0;) {
    all.append(buffer, static_cast<size_t>(got));
  }
  return all;
}

void make_blocking(int fd) {
  const timeval limit{2, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  const int flags = ::fcntl(fd, F_GETFL);
  ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

TEST_P(CapturePath, DialledAddressAndPodAreSeenAndBothDirectionsFlow) {
  for (const char* service : {"10.96.0.10:80", "[fd96::10]:80"}) {
    capture(service);
    Fd client;
    ASSERT_EQ(connect_from_pod(service, &client), 0) << service;
    Fd server = accept_any();
    ASSERT_TRUE(server.is_open()) << service;
    EXPECT_EQ(local_name(server.get()), service);
    EXPECT_EQ(peer_name(server.get()), local_name(client.get()));
    make_blocking(client.get());
    const std::string up(100000, 'u'), down(300000, 'd');
    std::thread writer([&] {
      ::send(client.get(), up.data(), up.size(), MSG_NOSIGNAL);
      ::shutdown(client.get(), SHUT_WR);
    });
    EXPECT_EQ(receive_all(server.get()), up);
    writer.join();
    std::thread answer([&] {
      ::send(server.get(), down.data(), down.size(), MSG_NOSIGNAL);
      const linger orderly{0, 0};
      ::setsockopt(server.get(), SOL_SOCKET, SO_LINGER, &orderly, sizeof(orderly));
      server.reset();
    });
    EXPECT_EQ(receive_all(client.get()), down);
    answer.join();
    np_flow flow{};
    ASSERT_TRUE(only_flow(&flow));
    EXPECT_EQ(flow.tx_bytes, up.size());
    EXPECT_EQ(flow.rx_bytes, down.size());
    EXPECT_EQ(flow.state, NP_FLOW_CLOSED);
    EXPECT_STREQ(flow.svc, "web.shop");
    EXPECT_STREQ(flow.pod, "shop/front");
    client.reset();
    SweepTimes now;
    now.closed = Duration(0);
    ASSERT_TRUE(loader_->sweep(now).has_value());
    ASSERT_FALSE(only_flow(&flow));
  }
  EXPECT_EQ(stats().failopen, 0U);
  EXPECT_EQ(stats().ret_neigh, 0U);
}

TEST_P(CapturePath, StaleHeartbeatGoesDirectOrIsResetAtOnce) {
  capture("10.77.1.1:81", NP_FAIL_OPEN);
  capture("10.96.0.11:80", NP_FAIL_CLOSED);
  capture("[fd96::11]:80", NP_FAIL_CLOSED);
  // The direct way: a server of the host at the dialled address.
  ASSERT_TRUE(run("ip addr replace 10.77.1.1/32 dev lo"));
  const Fd direct(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage storage{};
  const unsigned size = SocketAddress::parse("10.77.1.1:81")->to_sockaddr(&storage);
  ASSERT_EQ(::bind(direct.get(), reinterpret_cast<sockaddr*>(&storage), size), 0);
  ASSERT_EQ(::listen(direct.get(), 8), 0);
  Fd client;
  ASSERT_EQ(connect_from_pod("10.77.1.1:81", &client), 0);
  EXPECT_TRUE(accept_any().is_open()) << "fresh: captured";
  beat(std::chrono::seconds(2));
  ASSERT_EQ(connect_from_pod("10.77.1.1:81", &client), 0);
  EXPECT_TRUE(Fd(::accept(direct.get(), nullptr, nullptr)).is_open()) << "stale: direct";
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(connect_from_pod("10.96.0.11:80", &client), ECONNREFUSED);
  EXPECT_EQ(connect_from_pod("[fd96::11]:80", &client), ECONNREFUSED);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(100));
  EXPECT_EQ(stats().failopen, 1U);
  EXPECT_EQ(stats().failclosed, 2U);
  EXPECT_EQ(stats().stale_hb, 3U);
  // Fresh heartbeat, but nobody listens any more.
  beat();
  listeners_.clear(loader_->map_fd(Map::kListeners));
  ASSERT_EQ(connect_from_pod("10.77.1.1:81", &client), 0);
  EXPECT_TRUE(Fd(::accept(direct.get(), nullptr, nullptr)).is_open());
  EXPECT_EQ(connect_from_pod("10.96.0.11:80", &client), ECONNREFUSED);
  EXPECT_EQ(stats().no_listener, 2U);
}

TEST_P(CapturePath, KilledProxyResetsItsClient) {
  capture("10.96.0.10:80");
  Fd client;
  ASSERT_EQ(connect_from_pod("10.96.0.10:80", &client), 0);
  Fd server = accept_any();
  ASSERT_TRUE(server.is_open());
  server.reset();  // linger{1,0} is inherited from the listener: as a killed process closes
  make_blocking(client.get());
  char byte;
  EXPECT_EQ(::recv(client.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

std::string shape_name(const ::testing::TestParamInfo<Shape>& info) {
  return std::string(info.param.kind == PodKind::kRouted ? "Routed" : "Bridged") +
         (info.param.hook == Hook::kTcx ? "Tcx" : "Clsact");
}

INSTANTIATE_TEST_SUITE_P(Shapes, CapturePath,
                         ::testing::Values(Shape{PodKind::kRouted, Hook::kTcx},
                                           Shape{PodKind::kRouted, Hook::kClsact},
                                           Shape{PodKind::kBridged, Hook::kTcx},
                                           Shape{PodKind::kBridged, Hook::kClsact}),
                         shape_name);

}  // namespace
}  // namespace np::kernel
