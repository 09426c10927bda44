// SPDX-License-Identifier: Apache-2.0
// What the guard does with one frame: every exit, for the reason it is there, the same by XDP and
// by tc. And its buckets under load from several CPUs.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cstring>
#include <thread>

#include "base/time.h"
#include "bpf/capture_fixture.h"
#include "bpf/packet.h"

namespace np::kernel {
namespace {

constexpr uint64_t kNsPerS = 1'000'000'000;
constexpr int kPass = -2, kDrop = -3;  // whatever the program's hook calls them
constexpr size_t kMacBytes = 12;

using Counter = __u64 np_guard_st::*;
using Frame = std::vector<uint8_t>;

uint64_t sum_of_exits(const np_guard_st& stats) {
  uint64_t sum = 0;
#define NP_ADD(name, help) sum += stats.name;
  NP_GUARD_EXITS(NP_ADD)
#undef NP_ADD
  return sum;
}

Frame with_tags(Frame frame, std::initializer_list<uint16_t> types) {
  Frame tags;
  for (const uint16_t type : types) {
    tags.insert(tags.end(), {static_cast<uint8_t>(type >> 8), static_cast<uint8_t>(type), 0, 7});
  }
  frame.insert(frame.begin() + kMacBytes, tags.begin(), tags.end());
  return frame;
}

Packet v6() {
  Packet packet;
  packet.source = "fd77::1:2";
  packet.destination = "fd96::10";
  return packet;
}

class Guard : public CaptureFixture, public ::testing::WithParamInterface<Program> {
 protected:
  int run_frame(const Frame& frame, int repeat = 1) {
    bpf_test_run_opts options{};
    Frame out(frame.size() + 256);
    options.sz = sizeof(options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<uint32_t>(frame.size());
    options.data_out = out.data();
    options.data_size_out = static_cast<uint32_t>(out.size());
    options.repeat = repeat;
    const int failed = ::bpf_prog_test_run_opts(loader_->program_fd(GetParam()), &options);
    EXPECT_EQ(failed, 0) << std::strerror(-failed);
    const auto verdict = static_cast<int>(options.retval);
    if (GetParam() == Program::kGuard) {
      return verdict == XDP_PASS ? kPass : verdict == XDP_DROP ? kDrop : verdict;
    }
    return verdict == -1 ? kPass : verdict == 2 ? kDrop : verdict;
  }
  void expect_frame(const Frame& frame, int verdict, Counter exit) {
    const np_guard_st before = guard_stats();
    EXPECT_EQ(run_frame(frame), verdict);
    const np_guard_st after = guard_stats();
    EXPECT_EQ(after.*exit - before.*exit, 1U);
    EXPECT_EQ(sum_of_exits(after) - sum_of_exits(before), 1U) << "one exit per frame";
  }
  void expect(const Packet& packet, int verdict, Counter exit) {
    expect_frame(packet.build(), verdict, exit);
  }
  np_guard_st guard_stats() { return *sum_guard_stats(loader_->map_fd(Map::kGuardStats)); }
  void deny(const char* text) {
    const IpPrefix prefix = *IpPrefix::parse(text);
    np_guard_net key{};
    key.prefixlen = prefix.length;
    std::memcpy(key.ip, prefix.ip.bytes.data(), sizeof(key.ip));
    const np_guard_rule rule{NP_GUARD_DENY};
    ASSERT_EQ(map_update(loader_->map_fd(Map::kGuardDeny), &key, &rule, false), 0);
  }
  static np_guard_key key_of(const char* text) {
    const SocketAddress address = *SocketAddress::parse(text);
    np_guard_key key{};
    std::memcpy(key.ip, address.ip.bytes.data(), sizeof(key.ip));
    key.port = address.port;
    return key;
  }
  void guard(const char* address, uint32_t rate, uint32_t burst, uint32_t flags = NP_GUARD_SHED) {
    np_guard_dst value{};
    value.interval_ns = rate == 0 ? 0 : kNsPerS / rate;
    value.slack_ns = rate == 0 ? 0 : (burst - 1) * value.interval_ns;
    value.rate = rate;
    value.burst = burst;
    value.flags = flags;
    const np_guard_key key = key_of(address);
    ASSERT_EQ(map_update(loader_->map_fd(Map::kGuardDestinations), &key, &value, false), 0);
  }
  np_guard_dst bucket(const char* address) {
    np_guard_dst value{};
    const np_guard_key key = key_of(address);
    EXPECT_EQ(map_lookup(loader_->map_fd(Map::kGuardDestinations), &key, &value), 0);
    return value;
  }
  void set_live(uint32_t flags, Duration age) {
    const uint32_t zero = 0;
    np_live live{};
    live.flags = flags;
    live.heartbeat_ns = to_ns(monotonic_now() - age);
    ASSERT_EQ(map_update(loader_->map_fd(Map::kLive), &zero, &live, false), 0);
  }
};

TEST_P(Guard, PassesWhatIsNoneOfItsBusiness) {
  Packet arp, udp, udp6 = v6(), icmp, ack, syn_ack, reset;
  arp.ether_type = 0x0806;
  udp.protocol = udp6.protocol = IPPROTO_UDP;
  icmp.protocol = IPPROTO_ICMP;
  ack.flags = kAck;
  syn_ack.flags = kSyn | kAck;
  reset.flags = kRst;
  guard("10.96.0.10:80", 1, 1);
  expect(arp, kPass, &np_guard_st::pass_not_ip);
  expect(udp, kPass, &np_guard_st::pass_proto);
  expect(udp6, kPass, &np_guard_st::pass_proto);
  expect(icmp, kPass, &np_guard_st::pass_proto);
  for (const Packet& packet : {ack, syn_ack, reset}) {
    expect(packet, kPass, &np_guard_st::pass_segment);
  }
  Packet other_port;
  other_port.destination_port = 81;
  expect(other_port, kPass, &np_guard_st::pass_unguarded);
  expect(v6(), kPass, &np_guard_st::pass_unguarded);
  EXPECT_EQ(bucket("10.96.0.10:80").passed, 0U);
}

TEST_P(Guard, DeniedSourcesLoseAllTheirPackets) {
  deny("10.77.0.0/16");
  deny("fd77::/64");
  Packet ack, udp, fragment, cut, other;
  ack.flags = kAck;
  udp.protocol = IPPROTO_UDP;
  fragment.fragment = 0x0010;
  cut.cut_bytes = 16;
  other.source = "10.78.1.2";
  for (const Packet& packet : {Packet(), ack, udp, fragment, cut, v6()}) {
    expect(packet, kDrop, &np_guard_st::drop_denied);
  }
  expect(other, kPass, &np_guard_st::pass_unguarded);
  expect_frame(with_tags(Packet().build(), {0x8100}), kDrop, &np_guard_st::drop_denied);
}

TEST_P(Guard, LimitsNewConnectionsPerDestination) {
  guard("10.96.0.10:80", 1, 3);
  guard("[fd96::10]:80", 1, 1);
  for (int i = 0; i < 3; ++i) expect(Packet(), kPass, &np_guard_st::pass_syn);
  expect(Packet(), kDrop, &np_guard_st::drop_limited);
  expect(v6(), kPass, &np_guard_st::pass_syn);  // a bucket of its own
  expect(v6(), kDrop, &np_guard_st::drop_limited);
  Packet ack, ecn;
  ack.flags = kAck;
  ecn.flags = kSyn | 0xc0;  // ECE and CWR, as clients with ECN send
  expect(ack, kPass, &np_guard_st::pass_segment);
  expect(ecn, kDrop, &np_guard_st::drop_limited);
  EXPECT_EQ(bucket("10.96.0.10:80").passed, 3U);
  EXPECT_EQ(bucket("10.96.0.10:80").limited, 2U);
}

TEST_P(Guard, LooksThroughTagsAndExtensionHeaders) {
  guard("10.96.0.10:80", 1, 1);
  guard("[fd96::10]:80", 1, 1);
  expect_frame(with_tags(Packet().build(), {0x88a8, 0x8100}), kPass, &np_guard_st::pass_syn);
  expect_frame(with_tags(Packet().build(), {0x8100}), kDrop, &np_guard_st::drop_limited);
  expect_frame(with_tags(Packet().build(), {0x88a8, 0x8100, 0x8100}), kPass,
               &np_guard_st::pass_not_ip);
  Packet options;
  options.ip_option_words = 4;
  expect(options, kDrop, &np_guard_st::drop_limited);
  Packet extended = v6();
  extended.extensions = {IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS};
  expect(extended, kPass, &np_guard_st::pass_syn);
  extended.extensions = std::vector<uint8_t>(8, IPPROTO_DSTOPTS);
  expect(extended, kDrop, &np_guard_st::drop_limited);
  extended.extensions.push_back(IPPROTO_DSTOPTS);
  expect(extended, kDrop, &np_guard_st::drop_chain);
}

TEST_P(Guard, FragmentsAreJudgedByTheFirst) {
  guard("10.96.0.10:80", 1, 1);
  guard("[fd96::10]:80", 1, 1);
  Packet first, later, hidden, first6 = v6(), later6 = v6();
  first.fragment = 0x2000;
  later.fragment = 0x2010;
  hidden.fragment = 0x2000;
  hidden.length_error = -12;  // eight bytes of TCP: ports, but no flags
  first6.extensions = later6.extensions = {IPPROTO_FRAGMENT};
  first6.fragment_v6 = 1;
  later6.fragment_v6 = 0x0041;
  expect(later, kPass, &np_guard_st::pass_fragment);
  expect(first, kPass, &np_guard_st::pass_syn);
  expect(hidden, kDrop, &np_guard_st::drop_limited);
  expect(later6, kPass, &np_guard_st::pass_fragment);
  expect(first6, kPass, &np_guard_st::pass_syn);
  expect(first6, kDrop, &np_guard_st::drop_limited);
}

TEST_P(Guard, MalformedFramesPassAndCostNoToken) {
  guard("10.96.0.10:80", 1, 1);
  guard("[fd96::10]:80", 1, 1);
  Packet short_ip, cut_tcp, cut_ip, no_tcp, cut6 = v6(), long_chain = v6(), cut_chain = v6();
  short_ip.length_error = -30;
  cut_tcp.cut_bytes = 12;
  cut_ip.cut_bytes = 38;
  no_tcp.length_error = -18;  // the header ends before its ports; what follows is padding
  cut6.cut_bytes = 8;
  long_chain.extensions = cut_chain.extensions = {IPPROTO_DSTOPTS};
  long_chain.length_error = -26;  // the chain is longer than the packet
  cut_chain.cut_bytes = 24;
  for (const Packet& packet : {short_ip, cut_tcp, no_tcp, cut6, long_chain, cut_chain}) {
    expect(packet, kPass, &np_guard_st::pass_bad);
  }
  if (GetParam() == Program::kGuard) {  // the test run for tc refuses half an IP header itself
    expect(cut_ip, kPass, &np_guard_st::pass_bad);
    cut6.cut_bytes = 30;
    expect(cut6, kPass, &np_guard_st::pass_bad);
  }
  Frame only_ethernet = Packet().build(), odd_version = only_ethernet, short_header = odd_version;
  odd_version[14] = 0x65;
  short_header[14] = 0x44;
  expect_frame(odd_version, kPass, &np_guard_st::pass_bad);
  expect_frame(short_header, kPass, &np_guard_st::pass_bad);
  EXPECT_EQ(bucket("10.96.0.10:80").passed, 0U);
  EXPECT_EQ(bucket("[fd96::10]:80").passed, 0U);
}

// Whatever the bytes, there is one exit, and only a SYN can be dropped.
TEST_P(Guard, EveryTruncationLeavesByOneExit) {
  guard("10.96.0.10:80", 1000, 1000);
  Packet extended = v6();
  extended.extensions = {IPPROTO_HOPOPTS, IPPROTO_FRAGMENT};
  for (const Packet& packet : {Packet(), v6(), extended}) {
    const Frame whole = with_tags(packet.build(), {0x8100});
    for (size_t size = 14 + 20; size <= whole.size(); ++size) {
      const np_guard_st before = guard_stats();
      EXPECT_EQ(run_frame(Frame(whole.begin(), whole.begin() + static_cast<long>(size))), kPass);
      EXPECT_EQ(sum_of_exits(guard_stats()) - sum_of_exits(before), 1U) << size;
    }
  }
}

TEST_P(Guard, AnyAddressMeansThoseOfThisNode) {
  ASSERT_TRUE(
      run("ip addr add 10.96.0.10/32 dev lo && ip addr add fd96::10/128 dev lo nodad && "
          "sysctl -qw net.ipv4.conf.lo.forwarding=1 && "
          "ip link add away type bridge && ip link set away up && ip route add 10.98.0.0/16 dev "
          "away && ip -6 route add fd98::/64 dev away"));
  guard("0.0.0.0:80", 1, 1);
  guard("[::]:80", 1, 1);
  Packet to_pod, to_pod6 = v6();
  to_pod.destination = "10.98.0.1";
  to_pod6.destination = "fd98::1";
  expect(to_pod, kPass, &np_guard_st::pass_unguarded);
  expect(to_pod6, kPass, &np_guard_st::pass_unguarded);
  expect(Packet(), kPass, &np_guard_st::pass_syn);
  expect(Packet(), kDrop, &np_guard_st::drop_limited);
  expect(v6(), kPass, &np_guard_st::pass_syn);
  expect(v6(), kDrop, &np_guard_st::drop_limited);
  guard("10.96.0.10:80", 0, 0);  // an exact entry comes first
  expect(Packet(), kPass, &np_guard_st::pass_syn);
}

TEST_P(Guard, OverloadShedsNewConnectionsOnly) {
  guard("10.96.0.10:80", 0, 0);
  guard("[fd96::10]:80", 0, 0, 0);
  Packet ack, unguarded;
  ack.flags = kAck;
  unguarded.destination_port = 81;
  set_live(NP_LIVE_OVERLOAD, Duration(0));
  expect(Packet(), kDrop, &np_guard_st::drop_overload);
  expect(ack, kPass, &np_guard_st::pass_segment);
  expect(unguarded, kPass, &np_guard_st::pass_unguarded);
  expect(v6(), kPass, &np_guard_st::pass_syn);  // asked not to be shed
  EXPECT_EQ(bucket("10.96.0.10:80").shed, 1U);
  set_live(NP_LIVE_DRAIN, Duration(0));
  expect(Packet(), kPass, &np_guard_st::pass_syn);
}

TEST_P(Guard, OverloadOfADeadDaemonShedsNothing) {
  guard("10.96.0.10:80", 0, 0);
  set_live(NP_LIVE_OVERLOAD, std::chrono::seconds(2));
  const np_guard_st before = guard_stats();
  expect(Packet(), kPass, &np_guard_st::pass_syn);
  EXPECT_EQ(guard_stats().stale_overload - before.stale_overload, 1U);
}

// Two CPUs take from one bucket as fast as they can: never more than burst and rate allow, and no
// less. The burst is a second long, so that a machine with other work cannot let it run over; one
// more batch at the end takes what came while neither thread had a CPU.
TEST_P(Guard, BucketIsExactUnderLoadFromTwoCpus) {
  constexpr uint32_t kRate = 2000, kBurst = 2000;
  constexpr auto kTime = std::chrono::milliseconds(500);
  guard("10.96.0.10:80", kRate, kBurst);
  const Frame frame = Packet().build();
  const Instant begin = monotonic_now();
  // Empty from here on: a thread that does not run for a while then loses nothing.
  run_frame(frame, 2 * kBurst);
  const Instant emptied = monotonic_now();
  const auto flood = [&] {
    while (monotonic_now() - emptied < kTime) run_frame(frame, 1000);
  };
  std::thread other(flood);
  flood();
  other.join();
  const Duration inner = monotonic_now() - emptied;
  run_frame(frame, 2 * kBurst);
  const Duration outer = monotonic_now() - begin;
  const np_guard_dst used = bucket("10.96.0.10:80");
  const auto paid = [](Duration time) { return kBurst + to_ns(Instant(time)) * kRate / kNsPerS; };
  EXPECT_LE(used.passed, paid(outer) + 1);
  EXPECT_GE(used.passed + kRate / 50, paid(inner));
  EXPECT_GT(used.limited, used.passed);
  EXPECT_EQ(used.passed, guard_stats().pass_syn);
}

INSTANTIATE_TEST_SUITE_P(Hooks, Guard, ::testing::Values(Program::kGuard, Program::kGuardTc),
                         [](const auto& given) {
                           return given.param == Program::kGuard ? "Xdp" : "Tc";
                         });

}  // namespace
}  // namespace np::kernel
