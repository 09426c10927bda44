// SPDX-License-Identifier: Apache-2.0
// What np_pod_in does with one packet: every exit, for the reason it is there.
#include <gtest/gtest.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "bpf/program_fixture.h"

namespace np::kernel {
namespace {

using Verdict = ProgramFixture;

Packet v6() {
  Packet packet;
  packet.source = "fd77::1:2";
  packet.destination = "fd96::10";
  return packet;
}

Packet with_flags(Packet packet, uint8_t flags) {
  packet.flags = flags;
  return packet;
}

TEST_F(Verdict, OtherTrafficPasses) {
  Packet arp, vlan, udp, udp6 = v6(), icmp;
  arp.ether_type = 0x0806;
  vlan.ether_type = 0x8100;
  expect_out(arp, kNext, &np_stats::bypass_not_ip);
  expect_out(vlan, kNext, &np_stats::bypass_not_ip);
  udp.protocol = udp6.protocol = IPPROTO_UDP;
  expect_out(udp, kNext, &np_stats::bypass_udp);  // also to a covered address (R15)
  expect_out(udp6, kNext, &np_stats::bypass_udp);
  icmp.protocol = IPPROTO_ICMP;
  expect_out(icmp, kNext, &np_stats::bypass_proto);
}

TEST_F(Verdict, UncoveredDestinationPasses) {
  Packet other_port, other_address = v6();
  other_port.destination_port = 81;
  other_address.destination = "fd96::11";
  expect_out(other_port, kNext, &np_stats::bypass);
  expect_out(other_address, kNext, &np_stats::bypass);
}

TEST_F(Verdict, CoveredSynIsCapturedInBothFamilies) {
  for (const Packet& packet : {Packet(), v6()}) {
    expect_out(packet, kRedirect, &np_stats::captured);
    np_flow flow{};
    ASSERT_TRUE(flow_of(packet, &flow));
    EXPECT_EQ(flow.state, NP_FLOW_SYN);
    EXPECT_EQ(flow.pod_id, 1U);
    EXPECT_EQ(flow.svc_id, 7U);
    EXPECT_EQ(flow.policy_gen, 3U);
  }
  EXPECT_EQ(pod_totals().opened, 2U);
  EXPECT_EQ(service_totals().opened, 2U);
}

TEST_F(Verdict, RetransmittedSynCountsOnce) {
  expect_out(Packet(), kRedirect, &np_stats::captured);
  expect_out(Packet(), kRedirect, &np_stats::captured);
  EXPECT_EQ(pod_totals().opened, 1U);
  np_flow flow{};
  ASSERT_TRUE(flow_of(Packet(), &flow));
  EXPECT_EQ(flow.tx_pkts, 2U);
}

TEST_F(Verdict, MalformedPacketsPassAndCrashNothing) {
  Packet short_header, long_header, long_ip, short_ip, cut_tcp, long_ip6 = v6();
  short_header.tcp_header_words = 4;
  long_header.tcp_header_words = 15;
  long_ip.length_error = 100;
  short_ip.length_error = -30;
  cut_tcp.cut_bytes = 12;  // less than an IP header is refused by the test run itself
  long_ip6.length_error = 100;
  for (const Packet& packet : {short_header, long_header, long_ip, short_ip, cut_tcp, long_ip6}) {
    expect_out(packet, kNext, &np_stats::err_parse);
  }
}

TEST_F(Verdict, PaddingIsNoPayload) {
  Packet padded;
  padded.padding_bytes = 6;
  expect_out(padded, kRedirect, &np_stats::captured);
  padded.flags = kAck;
  padded.seq = 1001;
  expect_out(padded, kRedirect, &np_stats::captured);
  np_flow flow{};
  ASSERT_TRUE(flow_of(padded, &flow));
  EXPECT_EQ(flow.tx_bytes, 0U);
}

TEST_F(Verdict, SegmentsOfConnectionsOlderThanTheirPolicyPass) {  // R5
  expect_out(with_flags(Packet(), kAck), kNext, &np_stats::bypass_midflow);
  expect_out(with_flags(v6(), kFin | kAck), kNext, &np_stats::bypass_midflow);
  expect_out(with_flags(v6(), kSyn | kAck), kNext, &np_stats::bypass_midflow);
  // `nodectl flows reset`: they are handed to a stack that knows no such connection.
  change_live([](np_live& live) { live.reset_until_ns = to_ns(monotonic_now()) + 1'000'000'000; });
  expect_out(with_flags(Packet(), kAck), kRedirect, &np_stats::midflow_reset);
  change_live([](np_live& live) { live.reset_until_ns = to_ns(monotonic_now()) - 1; });
  expect_out(with_flags(Packet(), kAck), kNext, &np_stats::bypass_midflow);
}

TEST_F(Verdict, RemovedPolicyKeepsCapturedFlows) {  // R6
  expect_out(Packet(), kRedirect, &np_stats::captured);
  expect_in(Packet{.source = "10.96.0.10",
                   .destination = "10.77.1.2",
                   .source_port = 80,
                   .destination_port = 40000,
                   .flags = kSyn | kAck,
                   .seq = 5000,
                   .ack = 1001},
            kRedirect, &np_stats::ret_pod);
  capture("10.96.0.10:80", NP_FAIL_OPEN, NP_ACTION_DRAIN);
  Packet segment = with_flags(Packet(), kAck);
  segment.seq = 1001;
  segment.ack = 5001;
  expect_out(segment, kRedirect, &np_stats::captured);
  Packet fresh;
  fresh.source_port = 40001;
  expect_out(fresh, kNext, &np_stats::bypass_drain);
}

TEST_F(Verdict, OtherActionsAndTheKillswitch) {
  capture("10.96.0.10:80", NP_FAIL_OPEN, NP_ACTION_BYPASS);
  expect_out(Packet(), kNext, &np_stats::bypass_action);
  capture("10.96.0.10:80", NP_FAIL_OPEN, NP_ACTION_REJECT);
  expect_out(Packet(), kRedirect, &np_stats::reject);
  np_flow flow{};
  EXPECT_FALSE(flow_of(Packet(), &flow)) << "no record: np_pick refuses it";
  capture("10.96.0.10:80", NP_FAIL_CLOSED);
  change_live([](np_live& live) { live.flags = NP_LIVE_KILLSWITCH; });
  expect_out(Packet(), kNext, &np_stats::killswitch);
}

TEST_F(Verdict, SourceOfAnotherPodIsNotCapturedAsThatPod) {  // R9
  Packet spoofed;
  spoofed.source = "10.77.1.3";
  expect_out(spoofed, kNext, &np_stats::spoof);
  expect_exit(Program::kPodIn, Packet(), proxy_->np0_ifindex(), kNext, &np_stats::spoof);
  capture("10.96.0.10:80", NP_FAIL_CLOSED);
  expect_out(spoofed, kDrop, &np_stats::spoof_drop);
}

TEST_F(Verdict, OptionsAndExtensionHeadersAreCaptured) {  // R10
  Packet options;
  options.ip_option_words = 10;
  expect_out(options, kRedirect, &np_stats::captured);
  Packet extensions = v6();
  extensions.extensions = {IPPROTO_HOPOPTS, IPPROTO_DSTOPTS, IPPROTO_ROUTING};
  expect_out(extensions, kRedirect, &np_stats::captured);
  Packet whole = v6();  // "atomic fragment": a fragment header, but nothing is missing
  whole.source_port = 40001;
  whole.extensions = {IPPROTO_FRAGMENT};
  expect_out(whole, kRedirect, &np_stats::captured);
  Packet endless = v6();
  endless.extensions.assign(20, IPPROTO_DSTOPTS);
  expect_out(endless, kNext, &np_stats::bypass_proto);
  Packet cut = v6();
  cut.extensions = {IPPROTO_HOPOPTS};
  cut.cut_bytes = 26;
  expect_out(cut, kNext, &np_stats::err_parse);
}

TEST_F(Verdict, FragmentsFollowTheFailMode) {  // R10
  Packet first, later, first6 = v6(), later6 = v6();
  first.fragment = 0x2000;
  later.fragment = 0x0010;
  first6.extensions = later6.extensions = {IPPROTO_FRAGMENT};
  first6.fragment_v6 = 1;
  later6.fragment_v6 = 64;
  for (const Packet& packet : {first, later, first6, later6}) {
    expect_out(packet, kNext, &np_stats::frag);
  }
  expect_out(Packet(), kRedirect, &np_stats::captured);
  expect_out(first, kDrop, &np_stats::frag_drop);  // of a captured flow (R36)
  capture("[fd96::10]:80", NP_FAIL_CLOSED);
  expect_out(first6, kDrop, &np_stats::frag_drop);
  Packet uncovered = first;
  uncovered.destination_port = 81;
  expect_out(uncovered, kNext, &np_stats::bypass);
}

TEST_F(Verdict, CapsPerPod) {  // R45
  change_pod([](np_pod& pod) { pod.max_flows = 2; });
  for (uint16_t port = 40000; port < 40002; ++port) {
    expect_out(Packet{.source_port = port}, kRedirect, &np_stats::captured);
  }
  expect_out(Packet{.source_port = 40002}, kRedirect, &np_stats::cap_flows);
  np_flow flow{};
  EXPECT_FALSE(flow_of(Packet{.source_port = 40002}, &flow));
  EXPECT_EQ(pod_totals().syn_drop_cap, 1U);
  // A flow that ends makes room.
  expect_out(Packet{.source_port = 40000, .flags = kRst, .seq = 1001}, kRedirect,
             &np_stats::captured);
  expect_out(Packet{.source_port = 40002}, kRedirect, &np_stats::captured);
  change_pod([](np_pod& pod) {
    pod.max_flows = 0;
    pod.syn_rate = 1;
    pod.syn_burst = 1;
  });
  expect_out(Packet{.source_port = 40003}, kRedirect, &np_stats::captured);
  expect_out(Packet{.source_port = 40004}, kDrop, &np_stats::cap_rate);
  EXPECT_EQ(pod_totals().syn_drop_rate, 1U);
}

TEST_F(Verdict, UnservedConnectionsFollowTheFailModeAndSayWhy) {  // R35
  const auto expect_cause = [this](Counter cause) {
    const np_stats before = stats();
    capture("10.96.0.10:80", NP_FAIL_OPEN);
    expect_out(Packet(), kNext, &np_stats::failopen);
    capture("10.96.0.10:80", NP_FAIL_CLOSED);
    expect_out(Packet(), kRedirect, &np_stats::failclosed);
    np_flow flow{};
    EXPECT_FALSE(flow_of(Packet(), &flow));
    EXPECT_EQ(stats().*cause - before.*cause, 2U);
  };
  change_live([](np_live& live) { live.flags = NP_LIVE_OVERLOAD; });
  expect_cause(&np_stats::overload);
  change_live([](np_live& live) { live.flags = NP_LIVE_DRAIN; });
  expect_cause(&np_stats::overload);
  beat(std::chrono::milliseconds(1001));
  expect_cause(&np_stats::stale_hb);
  beat();
  listeners_.clear(loader_->map_fd(Map::kListeners));
  expect_cause(&np_stats::no_listener);
  EXPECT_EQ(pod_totals().failopen, 4U);
  EXPECT_EQ(service_totals().failclosed, 4U);
}

TEST_F(Verdict, FailModeOfThePodAndTheDefault) {
  beat(std::chrono::seconds(2));
  capture("10.96.0.10:80", NP_FAIL_DEFAULT);
  expect_out(Packet(), kNext, &np_stats::failopen);
  change_pod([](np_pod& pod) { pod.fail = NP_FAIL_CLOSED; });
  expect_out(Packet(), kRedirect, &np_stats::failclosed);
  change_pod([](np_pod& pod) { pod.fail = NP_FAIL_DEFAULT; });
  change_config([](np_config& config) { config.default_fail = NP_FAIL_CLOSED; });
  expect_out(Packet(), kRedirect, &np_stats::failclosed);
}

TEST_F(Verdict, UnansweredSynFollowsTheFailModeWhenTheDaemonDies) {
  expect_out(Packet(), kRedirect, &np_stats::captured);
  beat(std::chrono::seconds(2));
  expect_out(Packet(), kNext, &np_stats::failopen);
  np_flow flow{};
  EXPECT_FALSE(flow_of(Packet(), &flow));
  EXPECT_EQ(pod_totals().opened - pod_totals().closed, 0U);
}

TEST_F(Verdict, FullTableEvictsNothing) {  // R49
  const int map = loader_->map_fd(Map::kFlows);
  np_flow other{};
  other.state = NP_FLOW_EST;
  np_flow_key key{};
  for (uint32_t i = 0; i < NP_FLOWS_MAX; ++i) {
    std::memcpy(key.daddr, &i, sizeof(i));
    ASSERT_EQ(map_update(map, &key, &other, true), 0) << i;
  }
  const np_stats before = stats();
  expect_out(Packet(), kNext, &np_stats::failopen);
  capture("[fd96::10]:80", NP_FAIL_CLOSED);
  expect_out(v6(), kRedirect, &np_stats::failclosed);
  EXPECT_EQ(stats().table_full - before.table_full, 2U);
  EXPECT_TRUE(map_lookup(map, &key, &other) == 0);
}

TEST_F(Verdict, PrefixesMatchTheirPortOnly) {  // design.md 8.9
  np_cidr_key key{};
  key.prefixlen = 16 + 96 + 16;  // 203.0.0.0/16
  key.port_be = htons(443);
  std::memcpy(key.ip, IpAddress::parse("203.0.0.0")->bytes.data(), sizeof(key.ip));
  np_svc value{};
  value.svc_id = 7;
  value.action = NP_ACTION_CAPTURE;
  ASSERT_EQ(map_update(loader_->map_fd(Map::kCidr), &key, &value, true), 0);
  Packet inside{.destination = "203.0.113.9", .destination_port = 443};
  expect_out(inside, kRedirect, &np_stats::captured);
  inside.destination_port = 444;
  expect_out(inside, kNext, &np_stats::bypass);
  expect_out(Packet{.destination = "203.1.0.1", .destination_port = 443}, kNext, &np_stats::bypass);
}

// An upstream socket that uses the pod's address, and answers to it.
class UpstreamOfPod : public Verdict {
 protected:
  void open_band() {
    change_config([](np_config& config) {
      config.band_lo = 61000;
      config.band_hi = 61999;
    });
  }

  // From `packet`'s destination to its source.
  void open_upstream(const Packet& packet) {
    const auto opened = proxy_->inside([this, &packet]() -> Result<void> {
      const SocketAddress own{*IpAddress::parse(packet.destination), packet.destination_port};
      const SocketAddress remote{*IpAddress::parse(packet.source), packet.source_port};
      sockaddr_storage storage{};
      unsigned size = own.to_sockaddr(&storage);
      upstream_.reset(::socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      const int on = 1;
      ::setsockopt(upstream_.get(), IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on));
      EXPECT_EQ(::bind(upstream_.get(), reinterpret_cast<sockaddr*>(&storage), size), 0);
      size = remote.to_sockaddr(&storage);
      EXPECT_NE(::connect(upstream_.get(), reinterpret_cast<sockaddr*>(&storage), size), 0);
      EXPECT_EQ(errno, EINPROGRESS);
      return ok();
    });
    ASSERT_TRUE(opened.has_value());
  }

  // Arrives from another pod of the node, or from elsewhere on its way to the pod.
  void expect_taken(const Packet& packet) {
    expect_out(packet, kRedirect, &np_stats::upstream_return);
    expect_exit(Program::kPodOut, packet, pod_ifindex_, kRedirect, &np_stats::out_upstream);
  }
  void expect_left_alone(const Packet& packet) {
    expect_out(packet, kNext, &np_stats::bypass);
    expect_exit(Program::kPodOut, packet, pod_ifindex_, kNext, &np_stats::out_next);
  }

  static Packet reply(bool is_v4) {
    return Packet{.source = is_v4 ? "10.77.1.9" : "fd77::1:9",
                  .destination = is_v4 ? "10.77.1.2" : "fd77::1:2",
                  .source_port = 8080,
                  .destination_port = 61001,
                  .flags = kSyn | kAck};
  }

 private:
  Fd upstream_;
};

TEST_F(UpstreamOfPod, AnswersReachIt) {  // R25
  for (const bool is_v4 : {true, false}) {
    Packet answer = reply(is_v4);
    change_config([](np_config& config) { config.band_lo = 1, config.band_hi = 0; });
    open_upstream(answer);
    expect_left_alone(answer);  // no policy asks for `source: pod`
    open_band();
    expect_taken(answer);
    answer.flags = kAck;
    expect_taken(answer);
    answer.flags = kSyn;  // a client of a server that the pod runs on such a port
    expect_left_alone(answer);
  }
}

TEST_F(UpstreamOfPod, OthersAtItsPortAreLeftAlone) {
  open_band();
  open_upstream(reply(true));
  Packet other = reply(true);
  other.flags = kAck;
  other.destination = "10.77.1.3";  // no pod of ours
  expect_left_alone(other);
}

TEST_F(UpstreamOfPod, ServerOfThePodOnAPortOfTheBandWorks) {
  open_band();
  Packet segment = reply(true);
  segment.flags = kAck;
  const uint64_t before = stats().pick_upstream;
  run_program(Program::kPodIn, segment, pod_ifindex_);
  EXPECT_EQ(stats().pick_upstream, before + 1) << "asked for, and named as that";
  EXPECT_EQ(stats().pick_no_flow, 0U);
  open_upstream(reply(true));
  Packet other_client = segment;
  other_client.source_port = 8081;
  EXPECT_EQ(run_program(Program::kPodIn, other_client, pod_ifindex_), kNext);
  EXPECT_EQ(run_program(Program::kPodOut, other_client, pod_ifindex_), kNext);
}

TEST_F(Verdict, WithoutConfigurationEverythingPasses) {
  change_config([](np_config& config) { config.np0_ifindex = 0; });
  expect_out(Packet(), kNext, &np_stats::err_config);
}

}  // namespace
}  // namespace np::kernel
