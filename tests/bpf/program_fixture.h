// SPDX-License-Identifier: Apache-2.0
// ProgramFixture: runs single packets through the loaded programs (BPF_PROG_TEST_RUN) and checks
// that each leaves by exactly one exit, the expected one. A pod is registered, but its interface
// carries no program, so that nothing but the test counts.
#pragma once

#include "base/time.h"
#include "bpf/capture_fixture.h"
#include "bpf/packet.h"

namespace np::kernel {

inline constexpr int kNext = -1;     // TCX_NEXT
inline constexpr int kDrop = 2;      // TC_ACT_SHOT
inline constexpr int kRedirect = 7;  // TC_ACT_REDIRECT

class ProgramFixture : public CaptureFixture {
 protected:
  using Counter = __u64 np_stats::*;

  void SetUp() override;
  int run_program(Program program, const Packet& packet, uint32_t ifindex);
  // Sends `packet` from the pod (or to it): `verdict`, and only the counter `exit` among the exits.
  void expect_out(const Packet& packet, int verdict, Counter exit);
  void expect_in(const Packet& packet, int verdict, Counter exit);
  void expect_exit(Program program, const Packet& packet, uint32_t ifindex, int verdict,
                   Counter exit);
  // The record of a packet from the pod.
  bool flow_of(const Packet& packet, np_flow* flow);
  np_podst pod_totals();
  np_svcst service_totals();
  void change_pod(const std::function<void(np_pod&)>& change);
  void change_config(const std::function<void(np_config&)>& change);
  void change_live(const std::function<void(np_live&)>& change);

  uint32_t pod_ifindex_ = 0;
};

}  // namespace np::kernel
