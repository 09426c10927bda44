// SPDX-License-Identifier: Apache-2.0
// R3: our program is first in the chain of a pod's veth, stays first when others come, go and are
// replaced, and somebody who gets ahead all the same is noticed.
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <net/if.h>

#include <array>

#include "bpf/capture_fixture.h"

namespace np::kernel {
namespace {

constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);  // newer than Debian 12's headers
constexpr uint32_t kBefore = 1U << 3;                           // BPF_F_BEFORE

// Somebody else's program: passes everything on.
Fd other_program() {
  const std::array<bpf_insn, 2> pass_on = {
      bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K,
               .dst_reg = BPF_REG_0,
               .src_reg = 0,
               .off = 0,
               .imm = -1},
      bpf_insn{.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  return Fd(::bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "other", "GPL", pass_on.data(), pass_on.size(),
                            nullptr));
}

class HookOrder : public CaptureFixture {
 protected:
  void SetUp() override {
    CaptureFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (!has_tcx()) GTEST_SKIP() << "this kernel has no tcx";
    make_pod(PodKind::kRouted);
    point_ = {::if_nametoindex("vpod"), loader_->link_pin("order"), "np_pod_in"};
    ASSERT_NE(point_.ifindex, 0U);
    program_ = other_program();
    ASSERT_TRUE(program_.is_open());
  }
  Fd attach_other(uint32_t flags) {
    LIBBPF_OPTS(bpf_link_create_opts, options, .flags = flags);
    return Fd(
        ::bpf_link_create(program_.get(), static_cast<int>(point_.ifindex), kTcxIngress, &options));
  }
  void attach_ours() {
    const auto attached = attach_hook(Hook::kTcx, point_, loader_->program_fd(Program::kPodIn));
    ASSERT_TRUE(attached.has_value()) << attached.error().to_string();
  }
  HookPoint point_;
  Fd program_;
};

TEST_F(HookOrder, OursIsFirstWhoeverCameBeforeAndIsReplacedLater) {
  Fd other = attach_other(0);
  ASSERT_TRUE(other.is_open());
  attach_ours();
  EXPECT_TRUE(inspect_hook(point_).is_first);
  other.reset();
  EXPECT_TRUE(inspect_hook(point_).is_first);
  other = attach_other(0);
  ASSERT_TRUE(other.is_open());
  EXPECT_TRUE(inspect_hook(point_).is_first);
  attach_ours();  // as a second start does
  EXPECT_TRUE(inspect_hook(point_).is_first);
  EXPECT_TRUE(detach_hook(point_).has_value());
  EXPECT_FALSE(inspect_hook(point_).is_attached);
}

TEST_F(HookOrder, SomebodyAheadOfUsIsNoticed) {
  attach_ours();
  const Fd ahead = attach_other(kBefore);
  ASSERT_TRUE(ahead.is_open());
  const HookState state = inspect_hook(point_);
  EXPECT_TRUE(state.is_attached);
  EXPECT_FALSE(state.is_first);
  EXPECT_TRUE(detach_hook(point_).has_value());
}

}  // namespace
}  // namespace np::kernel
