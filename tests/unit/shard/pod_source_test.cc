// SPDX-License-Identifier: Apache-2.0
// `source: pod` (R25-R29) against a network namespace of the test's own, whose loopback takes the
// place of the pods: 127.0.0.9 is "the pod". Needs the right to make a namespace.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstdio>
#include <future>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "proxy/counters.h"
#include "shard/shard_pool.h"
#include "tests/unit/shard/client.h"

namespace np::shard {
namespace {

using test::Client;

bool raise_loopback() {
  const Fd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::snprintf(request.ifr_name, sizeof request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return ::ioctl(control.get(), SIOCSIFFLAGS, &request) == 0;
}

struct InNamespace {
  Fd netns;
  Fd listener;
};

// On a thread of its own, which takes the namespace with it when it ends; descriptors stay.
InNamespace make_namespace(uint16_t port) {
  InNamespace made;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) != 0 || !raise_loopback()) return;
    made.netns = Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    auto listener = open_listener({*IpAddress::parse("127.0.0.1"), port});
    if (listener) made.listener = std::move(listener).value();
  }).join();
  return made;
}

class PodSource : public testing::Test {
 protected:
  void SetUp() override {
    Fd listener = open_listener(*SocketAddress::parse("127.0.0.1:0")).value();
    bind_ = local_address(listener.get()).value();
    inside_ = make_namespace(bind_.port);
    if (!inside_.listener.is_open()) GTEST_SKIP() << "cannot make a network namespace (not root)";
    counters_.resize(1);
    ShardPoolOptions options;
    options.engine_counters = {&counters_[0]};
    options.proxy_netns_fd = inside_.netns.get();
    options.pod_port_lo = 61000;
    options.pod_port_hi = 61002;
    options.limits.pod_port_tries = 16;
    auto pool = ShardPool::create(std::move(options));
    ASSERT_TRUE(pool.has_value()) << pool.error().to_string();
    pool_ = std::move(pool).value();
    ASSERT_TRUE(pool_->add_gateway_listener(bind_, std::move(listener)).has_value());
    ASSERT_TRUE(pool_->start().has_value());
  }

  std::string dial(Client& client, const std::string& source) {
    return client.ask("dialpod " + source + " 127.0.0.1:" + std::to_string(bind_.port));
  }
  SocketAddress accept_inside() {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    accepted_.emplace_back(
        ::accept(inside_.listener.get(), reinterpret_cast<sockaddr*>(&address), &length));
    return SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&address));
  }

  SocketAddress bind_;
  InNamespace inside_;
  std::vector<proxy::EngineCounters> counters_;
  std::unique_ptr<ShardPool> pool_;
  std::vector<Fd> accepted_;
};

TEST_F(PodSource, OriginSeesThePodsAddressAndAPortOfTheBand) {
  Client client(bind_.port);
  EXPECT_EQ(dial(client, "127.0.0.9"), "opened\n");
  const SocketAddress seen = accept_inside();
  EXPECT_EQ(seen.ip.to_string(), "127.0.0.9");
  EXPECT_GE(seen.port, 61000);
  EXPECT_LE(seen.port, 61002);
  client.send("through");
  std::string text(16, '\0');
  text.resize(static_cast<size_t>(::recv(accepted_[0].get(), text.data(), text.size(), 0)));
  EXPECT_EQ(text, "through");
}

TEST_F(PodSource, TriesTheNextPortThenTheNodesAddress) {
  std::vector<std::unique_ptr<Client>> clients;
  std::set<uint16_t> ports;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<Client>(bind_.port));
    EXPECT_EQ(dial(*clients.back(), "127.0.0.9"), "opened\n");
    ports.insert(accept_inside().port);
  }
  EXPECT_EQ(ports.size(), 3U);
  EXPECT_EQ(pool_->counters().pod_source_fallbacks, 0U);
  // Another pod has ports of its own.
  clients.push_back(std::make_unique<Client>(bind_.port));
  EXPECT_EQ(dial(*clients.back(), "127.0.0.10"), "opened\n");
  EXPECT_EQ(accept_inside().ip.to_string(), "127.0.0.10");
  EXPECT_EQ(pool_->counters().pod_source_fallbacks, 0U);
  // The band is used up for the first: the node's netns answers, the client sees no error.
  clients.push_back(std::make_unique<Client>(bind_.port));
  EXPECT_EQ(dial(*clients.back(), "127.0.0.9"), "opened\n");
  EXPECT_EQ(pool_->counters().pod_source_fallbacks, 1U);
}

TEST_F(PodSource, APodThatDialsItselfKeepsTheNodesAddress) {
  Client client(bind_.port);
  EXPECT_EQ(dial(client, "127.0.0.1"), "opened\n");
  EXPECT_EQ(pool_->counters().pod_source_fallbacks, 0U);
  EXPECT_EQ(client.ask("echo self"), "self\n");  // the pool itself, in the host netns
}

TEST_F(PodSource, RefusedIsReported) {
  Client client(bind_.port);
  const std::string answer = client.ask("dialpod 127.0.0.9 127.0.0.1:1");
  EXPECT_EQ(answer, "failed 0\n");
}

TEST_F(PodSource, CloseWhileTheSocketIsBeingMade) {
  for (int i = 0; i < 50; ++i) {
    Client client(bind_.port);
    client.send("dialpod 127.0.0.9 127.0.0.1:1\n");
  }
  Client client(bind_.port);
  EXPECT_EQ(client.ask("echo alive"), "alive\n");
}

}  // namespace
}  // namespace np::shard
