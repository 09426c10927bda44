// SPDX-License-Identifier: Apache-2.0
// R41 and R39: state of another layout is carried over into the next version directory, with real
// programs of that layout on real hooks and a connection that lives through it.
#include "kernel/layout_move.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "bpf/capture_fixture.h"
#include "bpf/other_layout.h"
#include "kernel/guard_attach.h"
#include "kernel/kernel_maps.h"
#include "kernel/pin_versions.h"
#include "kernel/xdp.h"

namespace np::kernel {
namespace {

constexpr const char* kService = "10.96.0.10:80";
constexpr uint64_t kEpoch = 41;  // workers that the other version has started

void make_blocking(int fd) {
  const timeval limit{2, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK);
}

// Sends `bytes` and takes them at the other end.
bool carries(const Fd& from, const Fd& to, size_t bytes) {
  const std::string block(bytes, 'x');
  std::string got(bytes, 0);
  make_blocking(to.get());
  return ::send(from.get(), block.data(), bytes, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes) &&
         ::recv(to.get(), got.data(), bytes, MSG_WAITALL) == static_cast<ssize_t>(bytes);
}

uint32_t program_id(int program_fd) {
  bpf_prog_info info{};
  uint32_t size = sizeof(info);
  return ::bpf_obj_get_info_by_fd(program_fd, &info, &size) == 0 ? info.id : 0;
}

class LayoutMoveTest : public CaptureFixture, public ::testing::WithParamInterface<Hook> {
 protected:
  void SetUp() override {
    PodFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (GetParam() == Hook::kTcx && !has_tcx()) GTEST_SKIP() << "this kernel has no tcx";
    make_pod(PodKind::kRouted);
    auto proxy = ProxyNetns::open_or_create(names_);
    ASSERT_TRUE(proxy.has_value()) << proxy.error().to_string();
    proxy_ = std::make_unique<ProxyNetns>(std::move(*proxy));
    auto listeners = ListenerSet::open(*proxy_);
    ASSERT_TRUE(listeners.has_value()) << listeners.error().to_string();
    listeners_ = std::move(*listeners);
    ifindex_ = ::if_nametoindex(pod_.veth.c_str());
    old_root_ = pin_version(names_.pin_base, 1).path;
    new_root_ = pin_version(names_.pin_base, 2).path;
    ASSERT_NO_FATAL_FAILURE(leave_other_layout());
  }

  // What the other version's daemon had set up when it died.
  void leave_other_layout() {
    ASSERT_TRUE(make_pin_directories(names_.pin_base, old_root_).has_value());
    other_ = OtherLayout::load(old_root_);
    ASSERT_NE(other_, nullptr);
    ASSERT_TRUE(other_->put_config(proxy_->np0_ifindex()));
    ASSERT_TRUE(other_->put_pod(*IpAddress::parse(pod_.v4), ifindex_, 1, "shop/front"));
    ASSERT_TRUE(other_->put_service(*SocketAddress::parse(kService), 7, "web.shop"));
    ASSERT_TRUE(other_->beat(monotonic_now(), kEpoch));
    const std::string links = old_root_ + "/links/";
    const HookPoint pod{ifindex_, links + "pod_in_" + std::to_string(ifindex_), "np_pod_in"};
    const HookPoint out{ifindex_, links + "pod_out_" + std::to_string(ifindex_), "np_pod_out",
                        HookSide::kEgress};
    const HookPoint back{proxy_->np0_ifindex(), links + "np_ret_in", "np_ret_in"};
    ASSERT_TRUE(attach_hook(GetParam(), out, other_->program_fd("np_pod_out")).has_value());
    ASSERT_TRUE(attach_hook(GetParam(), pod, other_->program_fd("np_pod_in")).has_value());
    ASSERT_TRUE(attach_hook(GetParam(), back, other_->program_fd("np_ret_in")).has_value());
    const Fd pick(
        ::bpf_link_create(other_->program_fd("np_pick"), proxy_->fd(), BPF_SK_LOOKUP, nullptr));
    ASSERT_TRUE(pick.is_open());
    ASSERT_EQ(::bpf_obj_pin(pick.get(), (links + "np_pick").c_str()), 0);
    ASSERT_TRUE(listeners_.fill(other_->map_fd("np_listeners")).has_value());
  }

  // A captured connection, open, with 100 bytes sent by the pod.
  void open_connection(Fd* client, Fd* server) {
    if (loader_) {
      beat();
    } else {
      ASSERT_TRUE(other_->beat(monotonic_now(), kEpoch));
    }
    ASSERT_EQ(connect_from_pod(kService, client), 0);
    *server = accept_any();
    ASSERT_TRUE(server->is_open());
    ASSERT_TRUE(carries(*client, *server, 100));
  }

  // As a starting supervisor goes on.
  void begin_capture() {
    np_config config = *loader_->read_config();
    EXPECT_EQ(config.abi, uint32_t{NP_ABI_VERSION});
    EXPECT_EQ(config.np0_ifindex, proxy_->np0_ifindex());
    ASSERT_TRUE(loader_->attach_pick(proxy_->fd()).has_value());
    const HookPoint back{proxy_->np0_ifindex(), loader_->link_pin("np_ret_in"), "np_ret_in"};
    ASSERT_TRUE(attach_hook(GetParam(), back, loader_->program_fd(Program::kRetIn)).has_value());
    pods_ = std::make_unique<PodTable>(*loader_, GetParam());
    ASSERT_TRUE(pods_->adopt().has_value());
    ASSERT_TRUE(listeners_.fill(loader_->map_fd(Map::kListeners)).has_value());
    beat();
  }

  void load() {
    auto loader = Loader::load(names_);
    ASSERT_TRUE(loader.has_value()) << loader.error().to_string();
    loader_ = std::move(*loader);
  }

  std::string refusal() {
    const auto loader = Loader::load(names_);
    if (loader) return "";
    EXPECT_EQ(loader.error().code, ErrorCode::kUnsupported) << loader.error().to_string();
    return loader.error().to_string();
  }

  // Every hook has one program, ours (R39).
  void expect_own_programs_alone() {
    expect_one_program(ifindex_, Program::kPodIn, "np_pod_in");
    expect_one_program(ifindex_, Program::kPodOut, "np_pod_out", HookSide::kEgress);
    expect_one_program(proxy_->np0_ifindex(), Program::kRetIn, "np_ret_in");
    uint32_t ids[8], count = 8, flags = 0;
    ASSERT_EQ(::bpf_prog_query(proxy_->fd(), BPF_SK_LOOKUP, 0, &flags, ids, &count), 0);
    ASSERT_EQ(count, 1U);
    EXPECT_EQ(ids[0], program_id(loader_->program_fd(Program::kPick)));
  }

  void expect_one_program(uint32_t ifindex, Program program, const char* name,
                          HookSide side = HookSide::kIngress) {
    const bool is_in = side == HookSide::kIngress;
    uint32_t ids[8] = {}, count = 8, flags = 0;
    const bool queried =
        ::bpf_prog_query(static_cast<int>(ifindex), is_in ? kTcxIngress : kTcxEgress, 0, &flags,
                         ids, &count) == 0;
    const uint32_t own = program_id(loader_->program_fd(program));
    if (GetParam() == Hook::kTcx) {
      ASSERT_TRUE(queried);
      ASSERT_EQ(count, 1U) << name;
      EXPECT_EQ(ids[0], own) << name;
      return;
    }
    EXPECT_TRUE(!queried || count == 0) << name;
    char device[IF_NAMESIZE] = {};
    ASSERT_NE(::if_indextoname(ifindex, device), nullptr);
    EXPECT_TRUE(run("tc filter show dev " + std::string(device) + (is_in ? " ingress" : " egress") +
                    " > /tmp/" + instance_ + " && test $(grep -c direct-action /tmp/" + instance_ +
                    ") = 1 && grep -q \"id " + std::to_string(own) + " \" /tmp/" + instance_ +
                    "; rm /tmp/" + instance_))
        << name;
  }

  void expect_old_state_untouched() {
    EXPECT_EQ(::access((old_root_ + "/maps/np_config").c_str(), F_OK), 0);
    EXPECT_NE(::access(new_root_.c_str(), F_OK), 0) << "nothing half-made is left";
    EXPECT_EQ(program_id(other_->program_fd("np_pod_in")), program_on_pod());
    Fd client, server;
    ASSERT_NO_FATAL_FAILURE(open_connection(&client, &server));
  }

  uint32_t program_on_pod() {
    uint32_t ids[8] = {}, count = 8, flags = 0;
    ::bpf_prog_query(static_cast<int>(ifindex_), kTcxIngress, 0, &flags, ids, &count);
    return GetParam() == Hook::kTcx ? ids[0] : program_id(other_->program_fd("np_pod_in"));
  }

  void replace_old_map(const char* name, const Fd& map) {
    const std::string pin = old_root_ + "/maps/" + name;
    ASSERT_TRUE(map.is_open());
    ASSERT_EQ(::unlink(pin.c_str()), 0);
    ASSERT_EQ(::bpf_obj_pin(map.get(), pin.c_str()), 0);
  }

  uint32_t ifindex_ = 0;
  std::string old_root_, new_root_;
  std::unique_ptr<OtherLayout> other_;
};

TEST_P(LayoutMoveTest, R41PodsServicesAndOpenConnectionsSurviveAnotherLayout) {
  Fd client, server;
  ASSERT_NO_FATAL_FAILURE(open_connection(&client, &server));
  ASSERT_NO_FATAL_FAILURE(load());
  EXPECT_EQ(loader_->pin_root(), new_root_);
  EXPECT_NE(::access(old_root_.c_str(), F_OK), 0) << "the old version is gone";
  expect_own_programs_alone();

  np_flow flow{};
  ASSERT_TRUE(only_flow(&flow));
  EXPECT_EQ(flow.tx_bytes, 100U);
  EXPECT_EQ(flow.state, NP_FLOW_EST);
  EXPECT_STREQ(flow.svc, "web.shop");
  EXPECT_STREQ(flow.pod, "shop/front");
  np_pod pod{};
  np_pod_key key{};
  std::memcpy(key.ip, IpAddress::parse(pod_.v4)->bytes.data(), sizeof(key.ip));
  ASSERT_EQ(map_lookup(loader_->map_fd(Map::kPods), &key, &pod), 0);
  EXPECT_EQ(pod.ifindex, ifindex_);
  EXPECT_EQ(pod.slot, 5);
  EXPECT_EQ(pod.since_ns, 0U) << "a field that the old layout lacked";
  EXPECT_STREQ(pod.name, "shop/front");
  const np_stats counted = stats();
  EXPECT_GE(counted.captured, 3U);
  EXPECT_EQ(counted.pick_ok, 1U);

  ASSERT_NO_FATAL_FAILURE(begin_capture());
  EXPECT_TRUE(carries(client, server, 50));
  EXPECT_TRUE(carries(server, client, 70000));
  ASSERT_TRUE(only_flow(&flow));
  EXPECT_EQ(flow.tx_bytes, 150U) << "the record goes on where the other program left it";
  EXPECT_EQ(flow.rx_bytes, 70000U);
  np_podst totals{};
  const uint32_t pod_id = 1;
  ASSERT_EQ(map_lookup(loader_->map_fd(Map::kPodStats), &pod_id, &totals), 0);
  EXPECT_EQ(totals.opened, 1U);
  EXPECT_EQ(totals.closed, 0U);
  EXPECT_EQ(totals.tx_bytes, 150U);
  EXPECT_EQ(totals.rx_bytes, 70000U);

  Fd second_client, second_server;
  ASSERT_NO_FATAL_FAILURE(open_connection(&second_client, &second_server));
  EXPECT_EQ(pods_->list().size(), 1U);
  EXPECT_TRUE(pods_->list().front().is_attached);
  expect_own_programs_alone();
}

// The guard of an uplink goes on under the new program, with its rules, tokens and counters.
TEST_P(LayoutMoveTest, R41TheGuardStaysWhereItIs) {
  ASSERT_TRUE(run("ip link add up0 type veth peer name up1 && ip link set up0 up"));
  const uint32_t uplink = ::if_nametoindex("up0");
  const bool by_xdp = GetParam() == Hook::kTcx;
  const std::string pin = (by_xdp ? kGuardXdpPin : kGuardTcPin) + std::to_string(uplink);
  const std::string old_pin = old_root_ + "/links/" + pin;
  if (by_xdp) {
    ASSERT_TRUE(
        attach_xdp(XdpMode::kGeneric, uplink, old_pin, other_->program_fd("np_guard")).has_value());
  } else {
    ASSERT_TRUE(attach_hook(Hook::kClsact, {uplink, old_pin, kGuardTcProgram, HookSide::kIngress},
                            other_->program_fd("np_guard_tc"))
                    .has_value());
  }
  struct {
    uint64_t unknown = 0;
    np_guard_dst bucket{};
  } old;
  np_guard_key key{};
  key.ip[0] = 0xfd;
  key.port = 80;
  old.bucket.interval_ns = 1000;
  old.bucket.rate = 1'000'000;
  old.bucket.passed = 3;
  ASSERT_EQ(map_update(other_->map_fd("np_guard_dst"), &key, &old, false), 0);
  const np_guard_net net{.prefixlen = 8, .ip = {0xfd}};
  const np_guard_rule rule{NP_GUARD_DENY};
  ASSERT_EQ(map_update(other_->map_fd("np_guard_lpm"), &net, &rule, false), 0);
  ASSERT_NO_FATAL_FAILURE(load());
  np_guard_dst now{};
  np_guard_rule denied{};
  ASSERT_EQ(map_lookup(loader_->map_fd(Map::kGuardDestinations), &key, &now), 0);
  EXPECT_EQ(now.interval_ns, 1000U);
  EXPECT_EQ(now.rate, 1'000'000U);
  EXPECT_EQ(now.passed, 3U);
  ASSERT_EQ(map_lookup(loader_->map_fd(Map::kGuardDeny), &net, &denied), 0);
  EXPECT_EQ(denied.action, uint32_t{NP_GUARD_DENY});
  if (by_xdp) {
    const std::optional<XdpState> xdp = read_xdp(uplink);
    ASSERT_TRUE(xdp.has_value());
    EXPECT_EQ(xdp->program_id, program_id(loader_->program_fd(Program::kGuard)));
    EXPECT_TRUE(is_link_of(loader_->link_pin(pin), uplink));
  } else {
    expect_one_program(uplink, Program::kGuardTc, kGuardTcProgram);
  }
}

TEST_P(LayoutMoveTest, R41TheNextStartFindsItsOwnLayoutThere) {
  ASSERT_NO_FATAL_FAILURE(load());
  np_live live{};
  const uint32_t zero = 0;
  ASSERT_EQ(map_lookup(loader_->map_fd(Map::kLive), &zero, &live), 0);
  EXPECT_EQ(live.epoch, kEpoch);
  loader_.reset();
  ASSERT_NO_FATAL_FAILURE(load());
  EXPECT_EQ(loader_->pin_root(), new_root_);
  EXPECT_EQ(find_pin_versions(names_.pin_base).size(), 1U);
  ASSERT_NO_FATAL_FAILURE(begin_capture());
  expect_own_programs_alone();
}

// A copy that ended before its last write is thrown away; one that ended later is completed.
TEST_P(LayoutMoveTest, R41AnInterruptedMoveGoesOnAtTheNextStart) {
  Fd client, server;
  ASSERT_NO_FATAL_FAILURE(open_connection(&client, &server));
  InstanceNames aside = names_;
  aside.pin_base += "-aside";
  {
    auto begun = Loader::load(aside);
    ASSERT_TRUE(begun.has_value()) << begun.error().to_string();
  }
  ASSERT_EQ(::rename((aside.pin_base + "/v1").c_str(), new_root_.c_str()), 0);
  {
    auto copied = Loader::load(aside);
    ASSERT_TRUE(copied.has_value()) << copied.error().to_string();
    auto move = LayoutMove::plan(**copied, old_root_);
    ASSERT_TRUE(move.has_value()) << move.error().to_string();
    ASSERT_TRUE(move->copy(LayoutMove::Scope::kAll).has_value());
  }
  const std::string third = pin_version(names_.pin_base, 3).path;
  ASSERT_EQ(::rename((aside.pin_base + "/v1").c_str(), third.c_str()), 0);
  // Meanwhile, under the old program: one more connection, and more on the first.
  Fd later_client, later_server;
  ASSERT_NO_FATAL_FAILURE(open_connection(&later_client, &later_server));
  ASSERT_TRUE(carries(client, server, 11));

  ASSERT_NO_FATAL_FAILURE(load());
  EXPECT_EQ(loader_->pin_root(), third);
  EXPECT_EQ(find_pin_versions(names_.pin_base).size(), 1U);
  expect_own_programs_alone();
  ASSERT_NO_FATAL_FAILURE(begin_capture());
  EXPECT_TRUE(carries(later_client, later_server, 5));
  EXPECT_TRUE(carries(client, server, 5));
  np_podst totals{};
  const uint32_t pod_id = 1;
  ASSERT_EQ(map_lookup(loader_->map_fd(Map::kPodStats), &pod_id, &totals), 0);
  EXPECT_EQ(totals.opened, 2U) << "counted once";
  EXPECT_EQ(totals.tx_bytes, 221U);
  EXPECT_TRUE(Loader::remove_pins(aside).has_value());
}

TEST_P(LayoutMoveTest, R41WhatCannotBeCopiedForSureIsRefusedAndLeftAlone) {
  const Fd untyped(::bpf_map_create(BPF_MAP_TYPE_HASH, "np_flows", 40, 216, 16, nullptr));
  const std::string flows = old_root_ + "/maps/np_flows", kept = old_root_ + "/maps/kept";
  ASSERT_EQ(::rename(flows.c_str(), kept.c_str()), 0);
  ASSERT_EQ(::bpf_obj_pin(untyped.get(), flows.c_str()), 0);
  EXPECT_NE(refusal().find("np_flows of another layout has no type information"), std::string::npos)
      << refusal();
  ASSERT_EQ(::unlink(flows.c_str()), 0);

  // {u32 zone} -> {u32 state}: neither a key nor a value of ours.
  btf* types = ::btf__new_empty();
  const int word = ::btf__add_int(types, "u32", 4, 0);
  const int key = ::btf__add_struct(types, "key", 4);
  ASSERT_EQ(::btf__add_field(types, "zone", word, 0, 0), 0);
  ASSERT_EQ(::btf__load_into_kernel(types), 0);
  LIBBPF_OPTS(bpf_map_create_opts, options, .btf_fd = static_cast<uint32_t>(::btf__fd(types)),
              .btf_key_type_id = static_cast<uint32_t>(key),
              .btf_value_type_id = static_cast<uint32_t>(key));
  const Fd foreign(::bpf_map_create(BPF_MAP_TYPE_HASH, "np_flows", 4, 4, 16, &options));
  ::btf__free(types);
  ASSERT_TRUE(foreign.is_open());
  ASSERT_EQ(::bpf_obj_pin(foreign.get(), flows.c_str()), 0);
  EXPECT_NE(refusal().find("np_flows of another layout has other keys"), std::string::npos)
      << refusal();
  ASSERT_EQ(::unlink(flows.c_str()), 0);
  ASSERT_EQ(::rename(kept.c_str(), flows.c_str()), 0);
  expect_old_state_untouched();
}

TEST_P(LayoutMoveTest, R41ALinkOfUnknownPurposeIsRefused) {
  const std::string link = old_root_ + "/links/";
  ASSERT_EQ(::rename((link + "np_pick").c_str(), (link + "np_new_hook").c_str()), 0);
  EXPECT_NE(refusal().find("np_new_hook"), std::string::npos);
  ASSERT_EQ(::rename((link + "np_new_hook").c_str(), (link + "np_pick").c_str()), 0);
  expect_old_state_untouched();
}

TEST_P(LayoutMoveTest, R41MoreEntriesThanThereIsRoomForAreRefused) {
  for (uint32_t i = 0; i <= NP_CIDR_MAX; ++i) {
    const IpAddress ip =
        IpAddress::v4(203, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i), 0);
    ASSERT_TRUE(other_->put_prefix(IpPrefix{ip, 120}, 443, 9));
  }
  const auto loader = Loader::load(names_);
  ASSERT_FALSE(loader.has_value());
  EXPECT_NE(loader.error().to_string().find("np_cidr"), std::string::npos)
      << loader.error().to_string();
  expect_old_state_untouched();
}

std::string hook_of(const ::testing::TestParamInfo<Hook>& info) {
  return info.param == Hook::kTcx ? "Tcx" : "Clsact";
}

INSTANTIATE_TEST_SUITE_P(Hooks, LayoutMoveTest, ::testing::Values(Hook::kTcx, Hook::kClsact),
                         hook_of);

}  // namespace
}  // namespace np::kernel
