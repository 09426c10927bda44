// SPDX-License-Identifier: Apache-2.0
// Exchange: injected faults (traffic-semantics 3.2). They come before the router: a fault of a
// route sees neither its timeout nor its retries; one of a TrafficPolicy may ask for both.
#include <algorithm>

#include "policy/decide.h"
#include "proxy/core.h"
#include "proxy/exchange.h"
#include "proxy/retry.h"

namespace np::proxy {
namespace {

// Drawn as the fault itself would be: each part on its own.
bool would_hit(const policy::Fault& fault, Rng& rng) {
  const auto hits = [&rng](const auto& part) {
    return part && rng.chance(part->per_million, policy::kPerMillion);
  };
  const bool delays = hits(fault.delay) && draw_delay(fault.delay->shape, rng) > Duration::zero();
  const bool aborts = hits(fault.abort);
  const bool slows = hits(fault.bandwidth);
  return delays || aborts || slows;
}

}  // namespace

// The first fault of the host that matches, else the route's.
void Exchange::choose_fault() {
  const auto note_shadow = [this](const policy::HostFault& shadow) {
    if (!would_hit(shadow.fault, core_->rng())) return;
    ++core_->counters().fault_shadow;
    core_->node().note_shadow(ShadowKind::kFault, shadow.object, core_->now());
  };
  fault_ = policy::choose_fault(*match_.route, cluster_, request_view(), caller_, core_->now(),
                                note_shadow)
               .fault;
}

// True: the Exchange waits in Delay.
bool Exchange::inject_delay() {
  if (fault_ == nullptr) return false;
  if (fault_->within_limits && request_complete_) start_route_clock();
  if (!fault_->delay || !draw(fault_->delay->per_million)) return false;
  const Duration delay = draw_delay(fault_->delay->shape, core_->rng());
  if (delay <= Duration::zero()) return false;
  advance_to(Phase::kDelay);
  story_.delay = delay;
  ++core_->counters().fault_delays_injected;
  ++FlowUpdate(*core_->find(downstream_)->record, core_->now())->delays;
  core_->timers().arm(timers_[static_cast<size_t>(ExchangeTimer::kPhase)], core_->now() + delay);
  return true;
}

void Exchange::start_route_clock() {
  Timer& timer = timers_[static_cast<size_t>(ExchangeTimer::kRoute)];
  if (terms_.timeout <= Duration::zero() || timer.armed) return;
  core_->timers().arm(timer, core_->now() + terms_.timeout);
}

// Drawn on its own, whatever the delay was. True: the Exchange has ended, or repeats.
bool Exchange::inject_abort() {
  if (fault_ == nullptr || !fault_->abort || !draw(fault_->abort->per_million)) return false;
  EngineCounters& counters = core_->counters();
  ++FlowUpdate(*core_->find(downstream_)->record, core_->now())->fault_aborts;
  const uint16_t status = fault_->abort->http_status;
  if (status == 0) {
    ++counters.fault_resets_injected;
    story_.fault_status = RequestReport::kFaultReset;
    if (fault_->within_limits && repeat(policy::kRetry5xx | policy::kRetryReset, true)) return true;
    enter_finish(EndReason::kFaultReset);
    return true;
  }
  ++counters.fault_aborts_injected;
  story_.fault_status = status;
  if (fault_->within_limits) {
    const uint32_t conditions = answer_conditions(match_.route->retry, status, {});
    if (conditions != 0 && repeat(conditions, true)) return true;
  }
  status_ = status;
  enter_finish(EndReason::kFaultAbort);
  return true;
}

// What follows the delay, or its absence.
void Exchange::after_delay() {
  const policy::Route& route = *match_.route;
  last_activity_ = core_->now();
  if (inject_abort()) return;
  if (refused_by_checks()) return;
  if (answer_preflight()) return;
  if (route.action != policy::Route::Action::kForward) {
    answer_route();
    return;
  }
  if (cluster_ == nullptr) {
    enter_finish(EndReason::kNoCluster);
    return;
  }
  // The route's clock begins when the whole request is here, and not before the delay has passed.
  if (request_complete_) start_route_clock();
  enter_acquire();
}

// ---- slow answers ----------------------------------------------------------------------------

void Exchange::begin_slow_answer() {
  if (fault_ == nullptr || !fault_->bandwidth || !draw(fault_->bandwidth->per_million)) return;
  ++core_->counters().fault_bandwidth_injected;
  throttle_.begin(fault_->bandwidth->bytes_per_second, core_->now());
}

// The head is read line by line, for what comes along with it is paced already.
size_t Exchange::take_allowance(std::string_view bytes) {
  const size_t wanted = bytes.size();
  if (!answer_started_) return std::min(bytes.find('\n'), wanted - 1) + 1;
  if (!throttle_.is_on()) return wanted;
  const size_t allowed = throttle_.take(wanted, core_->now());
  if (allowed < wanted) {
    core_->timers().arm(timers_[static_cast<size_t>(ExchangeTimer::kPhase)], throttle_.ready_at());
  }
  return allowed;
}

}  // namespace np::proxy
