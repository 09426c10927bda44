// SPDX-License-Identifier: Apache-2.0
// Where the guard goes: native, generic, tc; whom it does not displace; what outlives the process.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <unistd.h>

#include <array>

#include "bpf/capture_fixture.h"
#include "kernel/guard_attach.h"
#include "kernel/xdp.h"

namespace np::kernel {
namespace {

using ::testing::HasSubstr;

// Somebody else's program: passes everything on.
Fd other_xdp() {
  const std::array<bpf_insn, 2> pass_on = {
      bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K,
               .dst_reg = BPF_REG_0,
               .src_reg = 0,
               .off = 0,
               .imm = XDP_PASS},
      bpf_insn{.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  return Fd(
      ::bpf_prog_load(BPF_PROG_TYPE_XDP, "other", "GPL", pass_on.data(), pass_on.size(), nullptr));
}

class GuardAttach : public PodFixture {
 protected:
  void SetUp() override {
    PodFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    start(Hook::kClsact);
    if (has_tcx()) start(Hook::kTcx);
    make_uplink();
  }
  void TearDown() override {
    if (guards_) {
      EXPECT_TRUE(guards_->detach_all().has_value());
    }
    guards_.reset();
    loader_.reset();
    PodFixture::TearDown();
  }
  // As a supervisor does, after another one or for the first time.
  void start(Hook hook) {
    guards_.reset();
    loader_.reset();
    auto loader = Loader::load(names_);
    ASSERT_TRUE(loader.has_value()) << loader.error().to_string();
    loader_ = std::move(*loader);
    guards_ = std::make_unique<GuardTable>(*loader_, hook);
    ASSERT_TRUE(guards_->adopt().has_value());
  }
  void make_uplink() {
    ASSERT_TRUE(
        run("ip link add up0 type veth peer name up1 && ip link set up0 up && "
            "ip link set up1 up"));
  }
  GuardRecord attach(GuardMode mode, const char* ifname = "up0", bool is_kept = false) {
    const Result<GuardRecord> record = guards_->attach(ifname, mode, is_kept);
    EXPECT_TRUE(record.has_value()) << record.error().to_string();
    return record ? *record : GuardRecord{};
  }
  static std::optional<XdpState> xdp(const char* ifname = "up0") {
    return read_xdp(::if_nametoindex(ifname));
  }
  HookState tc() {
    return inspect_hook({::if_nametoindex("up0"), "", kGuardTcProgram, HookSide::kIngress});
  }
  GuardRecord only() {
    const std::vector<GuardRecord> all = guards_->list();
    EXPECT_EQ(all.size(), 1U);
    return all.empty() ? GuardRecord{} : all.front();
  }

  std::unique_ptr<Loader> loader_;
  std::unique_ptr<GuardTable> guards_;
};

TEST_F(GuardAttach, TakesTheBestThatTheDriverHas) {
  EXPECT_EQ(attach(GuardMode::kAuto).hook, GuardHook::kNative);
  ASSERT_TRUE(xdp().has_value());
  EXPECT_EQ(xdp()->name, "np_guard");
  ASSERT_TRUE(run("ip link add plain type bridge"));
  const GuardRecord record = attach(GuardMode::kAuto, "plain");
  EXPECT_EQ(record.hook, GuardHook::kGeneric);
  EXPECT_THAT(record.note, HasSubstr("native"));
  const Result<GuardRecord> refused = guards_->attach("plain", GuardMode::kNative, false);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(xdp("plain")->mode, XdpMode::kGeneric) << "what was there stays";
}

TEST_F(GuardAttach, ChangesItsMode) {
  for (const GuardMode mode : {GuardMode::kGeneric, GuardMode::kTc, GuardMode::kNative}) {
    const GuardRecord record = attach(mode);
    EXPECT_EQ(tc().is_attached, mode == GuardMode::kTc);
    EXPECT_EQ(xdp().has_value(), mode != GuardMode::kTc);
    EXPECT_EQ(only().hook, record.hook);
  }
  ASSERT_TRUE(guards_->detach("up0").has_value());
  EXPECT_FALSE(xdp().has_value());
  EXPECT_FALSE(guards_->detach("up0").has_value());
}

TEST_F(GuardAttach, DisplacesNobody) {
  const Fd other = other_xdp();
  const auto index = static_cast<int>(::if_nametoindex("up0"));
  ASSERT_EQ(::bpf_xdp_attach(index, other.get(), XDP_FLAGS_SKB_MODE, nullptr), 0);
  for (const GuardMode mode : {GuardMode::kAuto, GuardMode::kNative, GuardMode::kGeneric}) {
    const Result<GuardRecord> refused = guards_->attach("up0", mode, false);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kConflict);
    EXPECT_THAT(refused.error().to_string(), HasSubstr("other (program "));
    EXPECT_THAT(refused.error().to_string(), HasSubstr("--mode tc"));
  }
  EXPECT_TRUE(guards_->list().empty());
  attach(GuardMode::kTc);
  EXPECT_TRUE(tc().is_attached);
  EXPECT_EQ(xdp()->name, "other");
  ASSERT_TRUE(guards_->detach("up0").has_value());
  EXPECT_FALSE(tc().is_attached);
  EXPECT_EQ(xdp()->name, "other");
}

TEST_F(GuardAttach, RefusesWhatIsNoUplink) {
  for (const char* ifname : {"lo", "nowhere"}) {
    EXPECT_FALSE(guards_->attach(ifname, GuardMode::kAuto, false).has_value());
  }
  EXPECT_TRUE(guards_->list().empty());
}

TEST_F(GuardAttach, OutlivesItsProcessAndIsTakenOver) {
  for (const GuardMode mode : {GuardMode::kNative, GuardMode::kGeneric, GuardMode::kTc}) {
    for (const Hook hook : {Hook::kTcx, Hook::kClsact}) {
      if (hook == Hook::kTcx && !has_tcx()) continue;
      start(hook);
      const GuardHook before = attach(mode).hook;
      start(hook);
      EXPECT_EQ(only().hook, before);
      EXPECT_EQ(only().ifname, "up0");
      EXPECT_EQ(tc().is_attached, mode == GuardMode::kTc);
      EXPECT_EQ(xdp().has_value(), mode != GuardMode::kTc);
      ASSERT_TRUE(guards_->detach_all().has_value());
      EXPECT_FALSE(tc().is_attached);
      EXPECT_FALSE(xdp().has_value());
    }
  }
}

TEST_F(GuardAttach, ComesBackWithItsInterface) {
  attach(GuardMode::kAuto);
  ASSERT_TRUE(run("ip link del up0"));
  guards_->sweep();
  EXPECT_EQ(only().hook, GuardHook::kNone);
  EXPECT_THAT(only().problem, HasSubstr("is not there"));
  make_uplink();
  guards_->sweep();
  EXPECT_EQ(only().hook, GuardHook::kNative);
  EXPECT_EQ(only().problem, "");
  EXPECT_TRUE(xdp().has_value());
  EXPECT_EQ(attach(GuardMode::kAuto, "later", true).hook, GuardHook::kNone);
  ASSERT_TRUE(run("ip link add later type bridge"));
  guards_->sweep();
  EXPECT_TRUE(xdp("later").has_value());
}

TEST_F(GuardAttach, NoticesThatSomebodyRemovedIt) {
  attach(GuardMode::kTc);
  const uint32_t index = ::if_nametoindex("up0");
  remove_link_pin(loader_->link_pin(kGuardTcPin + std::to_string(index)));
  ASSERT_TRUE(run("tc qdisc del dev up0 clsact 2>/dev/null || true"));
  guards_->sweep();
  EXPECT_THAT(only().problem, HasSubstr("somebody removed"));
  attach(GuardMode::kTc);
  guards_->sweep();
  EXPECT_EQ(only().problem, "");
}

}  // namespace
}  // namespace np::kernel
