// SPDX-License-Identifier: Apache-2.0
// R44: accept queues are split between pods. While nobody accepts, one pod fills the queue of its
// own slot and no other.
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <chrono>
#include <cstring>
#include <vector>

#include "bpf/capture_fixture.h"
#include "kernel/kernel_maps.h"

namespace np::kernel {
namespace {

constexpr const char* kService = "10.96.0.10:80";
constexpr int kBacklog = 4;
constexpr int kShortWaitMs = 300;  // a SYN that a full queue dropped is repeated after a second

constexpr uint16_t kFloodSyns = 2000;

// From 10.77.1.2 to kService; the checksum covers the pseudo header.
tcphdr bare_syn(uint16_t source_port) {
  struct {
    uint32_t source = htonl(0x0a4d0102);
    uint32_t destination = htonl(0x0a60000a);
    uint8_t zero = 0, protocol = IPPROTO_TCP;
    uint16_t bytes = htons(sizeof(tcphdr));
    tcphdr tcp{};
  } covered;
  covered.tcp.source = htons(source_port);
  covered.tcp.dest = htons(80);
  covered.tcp.doff = sizeof(tcphdr) / 4;
  covered.tcp.syn = 1;
  covered.tcp.window = htons(1024);
  uint16_t words[sizeof(covered) / sizeof(uint16_t)];
  std::memcpy(words, &covered, sizeof(covered));
  uint32_t sum = 0;
  for (const uint16_t word : words) sum += word;
  sum = (sum & 0xffff) + (sum >> 16);
  covered.tcp.check = static_cast<uint16_t>(~((sum & 0xffff) + (sum >> 16)));
  return covered.tcp;
}

class AcceptQueue : public CaptureFixture {
 protected:
  void SetUp() override {
    CaptureFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    add_pod(PodKind::kRouted, has_tcx() ? Hook::kTcx : Hook::kClsact);
    capture(kService);
    flooder_ = pod_;
    other_ = make_routed_pod(2);
    register_pod(2, "shop/other", other_);
    for (const OwnListener& listener : listeners_.sockets()) {
      ASSERT_EQ(::listen(listener.fd.get(), kBacklog), 0);
    }
    beat();
  }

  uint32_t slot_of(uint32_t pod_id) {
    for (const PodRecord& pod : pods_->list()) {
      if (pod.request.pod_id == pod_id) return pod.slot;
    }
    return UINT32_MAX;
  }

  // Connections from `pod` until its queue takes no more.
  std::vector<Fd> fill_queue(const PodPlace& pod) {
    pod_ = pod;
    std::vector<Fd> waiting;
    for (int i = 0; i < 4 * kBacklog; ++i) {
      beat();
      Fd client;
      if (connect_from_pod(kService, &client, 0, kShortWaitMs) != 0) return waiting;
      waiting.push_back(std::move(client));
    }
    ADD_FAILURE() << "the queue never filled";
    return waiting;
  }

  int connect_from(const PodPlace& pod, Fd* client) {
    beat();
    pod_ = pod;
    return connect_from_pod(kService, client, 0, kShortWaitMs);
  }

  PodPlace flooder_, other_;
};

TEST_F(AcceptQueue, R44OnePodFillsTheQueueOfItsOwnSlotOnly) {
  ASSERT_NE(slot_of(1), slot_of(2)) << "a pod gets the slot that fewest pods have";
  const std::vector<Fd> waiting = fill_queue(flooder_);
  EXPECT_GE(waiting.size(), static_cast<size_t>(kBacklog));
  Fd client;
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(connect_from(other_, &client), 0) << "another slot's pod connects meanwhile";
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(kShortWaitMs));
  EXPECT_EQ(connect_from(flooder_, &client), ETIMEDOUT) << "the flooder's queue is still full";
  EXPECT_EQ(stats().failopen + stats().failclosed, 0U) << "waiting, neither refused nor direct";
}

// What the split saves them from: with one slot for both, the second pod waits behind the first.
TEST_F(AcceptQueue, R44PodsOfOneSlotShareItsQueue) {
  const MapView<np_pod_key, np_pod> pods(loader_->map_fd(Map::kPods));
  pods.for_each([this, &pods](const np_pod_key& key, const np_pod& value) {
    np_pod moved = value;
    moved.slot = static_cast<uint8_t>(slot_of(1));
    EXPECT_EQ(pods.put(key, moved), 0);
    return true;
  });
  const std::vector<Fd> waiting = fill_queue(flooder_);
  Fd client;
  EXPECT_EQ(connect_from(other_, &client), ETIMEDOUT);
}

// A flood of bare SYNs: nobody ever answers the SYN-ACKs.
TEST_F(AcceptQueue, R44SynFloodOfOnePodDoesNotStopAnother) {
  in_pod([] {
    // The pod's own stack would answer each SYN-ACK with RST and so undo the flood.
    ASSERT_TRUE(run(
        "nft \"add table ip flood; add chain ip flood out { type filter hook output priority 0; "
        "}; add rule ip flood out tcp flags & rst == rst drop\""));
    const Fd raw(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP));
    ASSERT_TRUE(raw.is_open());
    sockaddr_storage target{};
    const unsigned size = SocketAddress::parse(kService)->to_sockaddr(&target);
    for (uint16_t i = 0; i < kFloodSyns; ++i) {
      const tcphdr syn = bare_syn(static_cast<uint16_t>(20000 + i));
      ASSERT_EQ(
          ::sendto(raw.get(), &syn, sizeof(syn), 0, reinterpret_cast<sockaddr*>(&target), size),
          static_cast<ssize_t>(sizeof(syn)));
    }
  });
  EXPECT_GE(stats().pick_ok, kFloodSyns / 2U) << "the flood reached the listener of its slot";
  Fd client;
  EXPECT_EQ(connect_from(other_, &client), 0);
}

}  // namespace
}  // namespace np::kernel
