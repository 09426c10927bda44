// SPDX-License-Identifier: Apache-2.0
// np_flows: payload by sequence number, states, reuse of ports, removal; and the return leg.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cstring>
#include <thread>

#include "bpf/program_fixture.h"

namespace np::kernel {
namespace {

class FlowRecordOf : public ProgramFixture {
 protected:
  // A segment from the pod; `offset` is that of its first payload byte in the stream.
  void up(uint32_t offset, uint32_t bytes, uint8_t flags = kAck) {
    Packet packet{.flags = flags, .seq = isn_ + 1 + offset, .ack = 5001, .payload_bytes = bytes};
    expect_out(packet, kRedirect, &np_stats::captured);
  }
  void down(uint32_t offset, uint32_t bytes, uint8_t flags = kAck) {
    Packet packet{.source = "10.96.0.10",
                  .destination = "10.77.1.2",
                  .source_port = 80,
                  .destination_port = 40000,
                  .flags = flags,
                  .seq = 5001 + offset,
                  .ack = isn_ + 1,
                  .payload_bytes = bytes};
    expect_in(packet, kRedirect, &np_stats::ret_pod);
  }
  void open(uint32_t isn) {
    isn_ = isn;
    expect_out(Packet{.seq = isn}, kRedirect, &np_stats::captured);
    down(UINT32_MAX, 0, kSyn | kAck);  // sequence number 5000
    up(0, 0);
  }
  np_flow flow() {
    np_flow found{};
    EXPECT_TRUE(flow_of(Packet(), &found));
    return found;
  }

  uint32_t isn_ = 0;
};

TEST_F(FlowRecordOf, PayloadIsCountedBySequenceNumber) {
  open(1000);
  EXPECT_EQ(flow().state, NP_FLOW_EST);
  up(0, 100);
  up(0, 100);    // retransmission
  up(300, 100);  // a gap: the highest end counts
  up(100, 200);  // filled
  EXPECT_EQ(flow().tx_bytes, 400U);
  down(0, 1000);
  down(500, 700);  // overlaps
  EXPECT_EQ(flow().rx_bytes, 1200U);
  up(400, 50, kFin | kAck);
  EXPECT_EQ(flow().state, NP_FLOW_FIN);
  up(400, 50, kFin | kAck);
  EXPECT_EQ(flow().tx_bytes, 450U) << "the FIN is no payload";
  down(1200, 0, kFin | kAck);
  EXPECT_EQ(flow().state, NP_FLOW_CLOSED);
  EXPECT_EQ(flow().rx_bytes, 1200U);
  EXPECT_EQ(pod_totals().tx_bytes, 450U);
  EXPECT_EQ(service_totals().rx_bytes, 1200U);
  EXPECT_EQ(pod_totals().closed, 1U);
}

TEST_F(FlowRecordOf, SequenceNumbersMayWrap) {
  open(UINT32_MAX - 99);
  up(0, 200);
  up(200, 300);
  EXPECT_EQ(flow().tx_bytes, 500U);
}

TEST_F(FlowRecordOf, KeepAlivesResetsAndForgedJumpsCountNothing) {
  open(1000);
  up(0, 10);
  up(9, 1);           // a keep-alive repeats the last byte
  up(1U << 31, 100);  // no window reaches there
  EXPECT_EQ(flow().tx_bytes, 10U);
  up(5000, 0, kRst);
  EXPECT_EQ(flow().tx_bytes, 10U);
  EXPECT_EQ(flow().state, NP_FLOW_CLOSED);
  EXPECT_EQ(flow().flags & NP_FLOW_RESET, NP_FLOW_RESET);
  up(10, 0);  // what comes late is still not the backend's business (R36)
}

TEST_F(FlowRecordOf, PortReuseAfterTheEndStartsAnew) {
  open(1000);
  up(0, 10, kFin | kAck);
  down(0, 20, kFin | kAck);
  open(900000);
  EXPECT_EQ(flow().state, NP_FLOW_EST);
  up(0, 7);
  EXPECT_EQ(flow().tx_bytes, 7U);
  EXPECT_EQ(flow().rx_bytes, 0U);
  EXPECT_EQ(pod_totals().opened, 2U);
  EXPECT_EQ(pod_totals().tx_bytes, 17U) << "totals keep what the record forgot";
}

TEST_F(FlowRecordOf, PortReuseWithoutAnEndStartsAnewWhenTheProxyAccepts) {
  open(1000);
  up(0, 10);
  expect_out(Packet{.seq = 777000}, kRedirect, &np_stats::captured);
  EXPECT_EQ(flow().tx_bytes, 10U) << "a stray SYN changes nothing";
  isn_ = 777000;
  down(UINT32_MAX, 0, kSyn | kAck);
  up(0, 0);
  up(0, 5);
  EXPECT_EQ(flow().tx_bytes, 5U);
  EXPECT_EQ(flow().state, NP_FLOW_EST);
}

// What a reader of np_events gets from now on.
class EventReader {
 public:
  explicit EventReader(int map_fd)
      : ring_(::ring_buffer__new(map_fd, &EventReader::take, this, nullptr)) {}
  ~EventReader() { ::ring_buffer__free(ring_); }
  std::vector<np_event> read() {
    events_.clear();
    EXPECT_GE(::ring_buffer__consume(ring_), 0);
    return events_;
  }

 private:
  static int take(void* self, void* data, size_t size) {
    EXPECT_EQ(size, sizeof(np_event));
    static_cast<EventReader*>(self)->events_.push_back(*static_cast<const np_event*>(data));
    return 0;
  }
  ring_buffer* ring_;
  std::vector<np_event> events_;
};

TEST_F(FlowRecordOf, EventsAreWrittenWhileSomebodyReads) {
  EventReader reader(loader_->map_fd(Map::kEvents));
  np_event ejected{};
  ejected.kind = NP_EVENT_EJECTED;
  ejected.svc_id = 7;
  ejected.count = 3;
  ejected.key.dport = 9080;
  EXPECT_FALSE(*loader_->note(ejected)) << "nobody reads";
  open(1000);
  EXPECT_TRUE(reader.read().empty());

  change_live([](np_live& live) { live.flags |= NP_LIVE_EVENTS; });
  EXPECT_TRUE(*loader_->note(ejected));
  up(0, 0, kRst);
  const std::vector<np_event> events = reader.read();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].kind, NP_EVENT_EJECTED);
  EXPECT_EQ(events[0].svc_id, 7U);
  EXPECT_EQ(events[0].count, 3U);
  EXPECT_EQ(events[0].key.dport, 9080U);
  EXPECT_GT(events[0].at_ns, 0U);
  EXPECT_EQ(events[1].kind, NP_EVENT_CLOSE);
  EXPECT_GE(events[1].at_ns, events[0].at_ns);
}

TEST_F(FlowRecordOf, AFullRingOfEventsLosesEventsOnly) {
  EventReader reader(loader_->map_fd(Map::kEvents));
  change_live([](np_live& live) { live.flags |= NP_LIVE_EVENTS; });
  size_t written = 0;
  while (*loader_->note(np_event{})) ASSERT_LT(++written, NP_EVENTS_BYTES / sizeof(np_event));
  open(1000);
  EXPECT_EQ(flow().state, NP_FLOW_EST) << "the flow is served all the same";
  EXPECT_EQ(reader.read().size(), written);
  EXPECT_TRUE(*loader_->note(np_event{}));
}

TEST_F(FlowRecordOf, SweepRemovesWhatIsOver) {
  expect_out(Packet{.source_port = 40001}, kRedirect, &np_stats::captured);  // never answered
  open(1000);
  SweepTimes times;
  times.closed = times.syn = std::chrono::milliseconds(1);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  auto swept = loader_->sweep(times);
  ASSERT_TRUE(swept.has_value());
  EXPECT_EQ(swept->removed, 1U);
  EXPECT_EQ(swept->live, 1U);
  EXPECT_EQ(pod_totals().closed, 1U) << "the cap of open flows has it back";
  up(0, 0, kRst);
  swept = loader_->sweep(SweepTimes{});
  EXPECT_EQ(swept->closed, 1U) << "a closed record can be read for a minute";
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(loader_->sweep(times)->removed, 1U);
}

TEST_F(FlowRecordOf, APodThatComesBackGoesOnCountingWithoutItsOldConnections) {
  open(1000);
  up(0, 100);
  ASSERT_TRUE(pods_->detach(1).has_value());
  ASSERT_TRUE(loader_->sweep(SweepTimes{}).has_value());
  EXPECT_EQ(flow().state, NP_FLOW_CLOSED) << "nobody will tell how it ended";
  register_pod(1, "shop/front", pod_);
  const np_podst totals = pod_totals();
  EXPECT_EQ(totals.tx_bytes, 100U);
  EXPECT_EQ(totals.opened, 1U);
  EXPECT_EQ(totals.closed, 1U) << "a cap of open connections is free again";
  EXPECT_EQ(totals.mac[0] | totals.mac[5], 0) << "of the interface that it had";
}

TEST_F(FlowRecordOf, AConnectionOfTheInterfaceBeforeIsOver) {
  open(1000);
  change_pod([](np_pod& pod) { ++pod.ifindex; });
  ASSERT_TRUE(loader_->sweep(SweepTimes{}).has_value());
  EXPECT_EQ(flow().state, NP_FLOW_CLOSED);
  EXPECT_EQ(pod_totals().closed, 1U);
}

TEST_F(FlowRecordOf, TotalsOfPodsThatLeftGiveWayWhenThereIsNoRoom) {
  const MapView<uint32_t, np_podst> totals(loader_->map_fd(Map::kPodStats));
  for (uint32_t id = 1000; totals.put(id, np_podst{}) == 0; ++id) ASSERT_LT(id, 9000U);
  ASSERT_TRUE(pods_->detach(1).has_value());
  register_pod(2, "shop/back", pod_);
  np_podst found{};
  EXPECT_TRUE(totals.lookup(2, &found));
  size_t entries = 0;
  totals.for_each([&entries](uint32_t, const np_podst&) { return ++entries > 0; });
  EXPECT_EQ(entries, size_t{NP_PODS_MAX});
}

TEST_F(FlowRecordOf, ReturnLeg) {
  Packet out_of_node{.source = "10.96.0.10", .destination = "192.0.2.1"};
  expect_in(out_of_node, kNext, &np_stats::ret_next);
  Packet arp;
  arp.ether_type = 0x0806;
  expect_in(arp, kNext, &np_stats::ret_next);
  const Packet reset{.source = "10.96.0.10", .destination = "10.77.1.2", .flags = kRst};
  change_pod([](np_pod& pod) { std::memset(pod.mac, 0, sizeof(pod.mac)); });
  expect_in(reset, kRedirect, &np_stats::ret_neigh);
  expect_out(Packet(), kRedirect, &np_stats::captured);  // teaches both MACs
  expect_in(reset, kRedirect, &np_stats::ret_pod);
}

TEST_F(FlowRecordOf, PickAdmitsOnlyWhatPodInAdmitted) {
  bpf_sk_lookup context{};
  context.family = 2;
  context.protocol = IPPROTO_TCP;
  std::memcpy(&context.remote_ip4, IpAddress::parse("10.77.1.2")->bytes.data() + 12, 4);
  std::memcpy(&context.local_ip4, IpAddress::parse("10.96.0.10")->bytes.data() + 12, 4);
  context.remote_port = htons(40000);
  context.local_port = 80;
  const auto pick = [this, &context] {
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    options.ctx_in = &context;
    options.ctx_size_in = sizeof(context);
    EXPECT_EQ(::bpf_prog_test_run_opts(loader_->program_fd(Program::kPick), &options), 0);
    return options.retval;
  };
  EXPECT_EQ(pick(), SK_DROP);
  EXPECT_EQ(stats().pick_no_flow, 1U);
  expect_out(Packet(), kRedirect, &np_stats::captured);
  EXPECT_EQ(pick(), SK_PASS);
  EXPECT_EQ(stats().pick_ok, 1U);
  beat(std::chrono::seconds(2));
  EXPECT_EQ(pick(), SK_DROP);
  EXPECT_EQ(stats().pick_stale_hb, 1U);
  beat();
  listeners_.clear(loader_->map_fd(Map::kListeners));
  EXPECT_EQ(pick(), SK_DROP);
  EXPECT_EQ(stats().pick_no_listener, 1U);
  context.protocol = IPPROTO_UDP;
  EXPECT_EQ(pick(), SK_PASS);
  EXPECT_EQ(stats().pick_other, 1U);
}

// The layouts that C++ reads are those that the programs were compiled with.
TEST_F(FlowRecordOf, LayoutsEqualTheObjectsTypeInformation) {
  const auto expect_member = [this](Map map, const char* member, size_t offset) {
    bpf_map_info info{};
    uint32_t size = sizeof(info);
    ASSERT_EQ(::bpf_obj_get_info_by_fd(loader_->map_fd(map), &info, &size), 0);
    btf* types = ::btf__load_from_kernel_by_id(info.btf_id);
    ASSERT_NE(types, nullptr);
    const btf_type* value = ::btf__type_by_id(types, info.btf_value_type_id);
    bool is_found = false;
    for (uint16_t i = 0; i < btf_vlen(value); ++i) {
      const char* name = ::btf__name_by_offset(types, btf_members(value)[i].name_off);
      if (std::strcmp(name, member) != 0) continue;
      is_found = true;
      EXPECT_EQ(btf_member_bit_offset(value, i) / 8, offset) << map_name(map) << "." << member;
    }
    EXPECT_TRUE(is_found) << map_name(map) << "." << member;
    ::btf__free(types);
  };
#define NP_EXPECT(map, type, member) expect_member(map, #member, offsetof(type, member))
  NP_EXPECT(Map::kConfig, np_config, np0_ifindex);
  NP_EXPECT(Map::kConfig, np_config, k_listeners);
  NP_EXPECT(Map::kLive, np_live, reset_until_ns);
  NP_EXPECT(Map::kPods, np_pod, gw_mac);
  NP_EXPECT(Map::kPods, np_pod, name);
  NP_EXPECT(Map::kPodStats, np_podst, tokens);
  NP_EXPECT(Map::kPodStats, np_podst, rx_bytes);
  NP_EXPECT(Map::kServices, np_svc, name);
  NP_EXPECT(Map::kServiceStats, np_svcst, name);
  NP_EXPECT(Map::kFlows, np_flow, rx_isn);
  NP_EXPECT(Map::kFlows, np_flow, pod);
  NP_EXPECT(Map::kConn, np_conn, last_ns);
  NP_EXPECT(Map::kEject, np_eject, failures);
  NP_EXPECT(Map::kStats, np_stats, pick_err);
#undef NP_EXPECT
}

}  // namespace
}  // namespace np::kernel
