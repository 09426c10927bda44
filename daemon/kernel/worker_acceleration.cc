// SPDX-License-Identifier: Apache-2.0
// The worker's side of the self-test of acceleration: asks the supervisor for it, and for its
// report.
#include <unistd.h>

#include "kernel/worker_link_impl.h"

namespace np::kernel {

using Phase = control::AccelerationState::Phase;

Result<void> WorkerLink::Impl::Acceleration::start() {
  return impl_.call(link::Kind::kTestAcceleration, uint32_t{0});
}

control::AccelerationState WorkerLink::Impl::Acceleration::state() {
  control::AccelerationState state;
  std::vector<LinkMessage> extra;
  if (!impl_.call(link::Kind::kGetAcceleration, uint32_t{0}, &extra)) return state;
  for (const LinkMessage& message : extra) {
    const auto body = message.as<link::Acceleration>();
    if (message.kind != link::Kind::kAcceleration || !body) continue;
    if (body->phase == static_cast<uint32_t>(Phase::kRunning)) state.phase = Phase::kRunning;
    if (body->phase != static_cast<uint32_t>(Phase::kDone)) continue;
    state.phase = Phase::kDone;
    std::string text(body->bytes, '\0');
    const ssize_t got = ::pread(message.fd.get(), text.data(), text.size(), 0);
    auto report = control::parse_acceleration_report(text);
    if (got == static_cast<ssize_t>(text.size()) && report) {
      state.report = std::move(*report);
    } else {
      state.report.problem = "the supervisor's report cannot be read";
    }
  }
  return state;
}

}  // namespace np::kernel
