// SPDX-License-Identifier: Apache-2.0
// R3: our program is first in the chain of a pod's veth, stays first when others come, go and are
// replaced, and somebody who gets ahead all the same is noticed.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <linux/bpf.h>
#include <net/if.h>

#include <array>

#include "bpf/capture_fixture.h"
#include "kernel/hook_chain.h"

namespace np::kernel {
namespace {

constexpr uint32_t kBefore = 1U << 3;  // BPF_F_BEFORE

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
  const std::vector<ChainEntry> chain = read_chain(point_.ifindex, HookSide::kIngress);
  ASSERT_EQ(chain.size(), 2U);
  EXPECT_EQ(to_text(chain[0]).substr(0, 15), "other (program ");
  EXPECT_EQ(to_text(chain[1]), "np_pod_in");
  attach_ours();  // as `nodectl pod add` does, which doctor advises
  EXPECT_TRUE(inspect_hook(point_).is_first);
  EXPECT_EQ(read_chain(point_.ifindex, HookSide::kIngress).size(), 2U);
  EXPECT_TRUE(detach_hook(point_).has_value());
}

TEST_F(HookOrder, FilterOfOurPriorityAheadOfUsIsNoticed) {
  const int ours = loader_->program_fd(Program::kPodIn);
  ASSERT_TRUE(attach_hook(Hook::kClsact, point_, ours).has_value());
  EXPECT_TRUE(inspect_hook(point_).is_first);
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(point_.ifindex),
              .attach_point = BPF_TC_INGRESS);
  LIBBPF_OPTS(bpf_tc_opts, ahead, .prog_fd = program_.get(), .handle = 1, .priority = 1);
  LIBBPF_OPTS(bpf_tc_opts, behind, .prog_fd = program_.get(), .handle = 1, .priority = 2);
  ASSERT_EQ(::bpf_tc_attach(&hook, &behind), 0);
  EXPECT_TRUE(inspect_hook(point_).is_first);
  ASSERT_EQ(::bpf_tc_attach(&hook, &ahead), 0);
  const HookState state = inspect_hook(point_);
  EXPECT_TRUE(state.is_attached);
  EXPECT_FALSE(state.is_first);
  EXPECT_EQ(state.hook, Hook::kClsact);
  EXPECT_THAT(to_text(read_chain(point_.ifindex, HookSide::kIngress).front()),
              ::testing::StartsWith("other (tc filter, pref 1, program "));
  ASSERT_TRUE(attach_hook(Hook::kClsact, point_, ours).has_value());
  EXPECT_TRUE(inspect_hook(point_).is_first);
  EXPECT_EQ(read_chain(point_.ifindex, HookSide::kIngress).size(), 3U);
  EXPECT_TRUE(detach_hook(point_).has_value());
  EXPECT_FALSE(inspect_hook(point_).is_attached);
}

}  // namespace
}  // namespace np::kernel
