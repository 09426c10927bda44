// SPDX-License-Identifier: Apache-2.0
#include "bpf/program_fixture.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <cstring>

namespace np::kernel {

namespace {

// All exits of all programs: the causes beside them are no exits.
uint64_t sum_of_exits(const np_stats& stats) {
  uint64_t sum = 0;
#define NP_ADD(name, help) sum += stats.name;
  NP_STATS_POD_IN_EXITS(NP_ADD)
  NP_STATS_POD_OUT_EXITS(NP_ADD)
  NP_STATS_RET_IN_EXITS(NP_ADD)
  NP_STATS_PICK_EXITS(NP_ADD)
#undef NP_ADD
  return sum;
}

np_pod_key key_of(const char* ip) {
  np_pod_key key{};
  std::memcpy(key.ip, IpAddress::parse(ip)->bytes.data(), sizeof(key.ip));
  return key;
}

}  // namespace

void ProgramFixture::SetUp() {
  CaptureFixture::SetUp();
  if (IsSkipped() || HasFatalFailure()) return;
  add_pod(PodKind::kRouted, has_tcx() ? Hook::kTcx : Hook::kClsact);
  pod_ifindex_ = pods_->list().front().ifindex;
  const std::string number = std::to_string(pod_ifindex_);
  for (const HookPoint& point :
       {HookPoint{pod_ifindex_, loader_->link_pin("pod_in_" + number), "np_pod_in"},
        HookPoint{pod_ifindex_, loader_->link_pin("pod_out_" + number), "np_pod_out",
                  HookSide::kEgress},
        HookPoint{proxy_->np0_ifindex(), loader_->link_pin("np_ret_in"), "np_ret_in"}}) {
    ASSERT_TRUE(detach_hook(point).has_value());
  }
  capture("10.96.0.10:80");
  capture("[fd96::10]:80");
}

int ProgramFixture::run_program(Program program, const Packet& packet, uint32_t ifindex) {
  std::vector<uint8_t> frame = packet.build();
  std::vector<uint8_t> out(frame.size() + 256);
  __sk_buff context{};
  context.ifindex = ifindex;
  bpf_test_run_opts options{};
  options.sz = sizeof(options);
  options.data_in = frame.data();
  options.data_size_in = static_cast<uint32_t>(frame.size());
  options.data_out = out.data();
  options.data_size_out = static_cast<uint32_t>(out.size());
  options.ctx_in = &context;
  options.ctx_size_in = sizeof(context);
  const int failed = ::bpf_prog_test_run_opts(loader_->program_fd(program), &options);
  EXPECT_EQ(failed, 0) << std::strerror(-failed);
  return static_cast<int>(options.retval);
}

void ProgramFixture::expect_exit(Program program, const Packet& packet, uint32_t ifindex,
                                 int verdict, Counter exit) {
  const np_stats before = stats();
  EXPECT_EQ(run_program(program, packet, ifindex), verdict);
  const np_stats after = stats();
  EXPECT_EQ(after.*exit - before.*exit, 1U);
  EXPECT_EQ(sum_of_exits(after) - sum_of_exits(before), 1U) << "one exit per packet";
}

void ProgramFixture::expect_out(const Packet& packet, int verdict, Counter exit) {
  expect_exit(Program::kPodIn, packet, pod_ifindex_, verdict, exit);
}

void ProgramFixture::expect_in(const Packet& packet, int verdict, Counter exit) {
  expect_exit(Program::kRetIn, packet, proxy_->np0_ifindex(), verdict, exit);
}

bool ProgramFixture::flow_of(const Packet& packet, np_flow* flow) {
  np_flow_key key{};
  std::memcpy(key.saddr, IpAddress::parse(packet.source)->bytes.data(), sizeof(key.saddr));
  std::memcpy(key.daddr, IpAddress::parse(packet.destination)->bytes.data(), sizeof(key.daddr));
  key.sport = packet.source_port;
  key.dport = packet.destination_port;
  key.ifindex = pod_ifindex_;
  return map_lookup(loader_->map_fd(Map::kFlows), &key, flow) == 0;
}

np_podst ProgramFixture::pod_totals() {
  np_podst totals{};
  const uint32_t id = 1;
  EXPECT_EQ(map_lookup(loader_->map_fd(Map::kPodStats), &id, &totals), 0);
  return totals;
}

np_svcst ProgramFixture::service_totals() {
  np_svcst totals{};
  const uint32_t id = 7;
  EXPECT_EQ(map_lookup(loader_->map_fd(Map::kServiceStats), &id, &totals), 0);
  return totals;
}

void ProgramFixture::change_pod(const std::function<void(np_pod&)>& change) {
  const MapView<np_pod_key, np_pod> pods(loader_->map_fd(Map::kPods));
  for (const char* ip : {"10.77.1.2", "fd77::1:2"}) {
    np_pod pod{};
    ASSERT_TRUE(pods.lookup(key_of(ip), &pod));
    change(pod);
    ASSERT_EQ(pods.put(key_of(ip), pod), 0);
  }
}

void ProgramFixture::change_config(const std::function<void(np_config&)>& change) {
  np_config config = *loader_->read_config();
  change(config);
  ASSERT_TRUE(loader_->write_config(config).has_value());
}

void ProgramFixture::change_live(const std::function<void(np_live&)>& change) {
  const MapView<uint32_t, np_live> map(loader_->map_fd(Map::kLive));
  np_live live{};
  ASSERT_TRUE(map.lookup(0, &live));
  change(live);
  ASSERT_EQ(map.put(0, live), 0);
}

}  // namespace np::kernel
