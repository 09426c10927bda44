// SPDX-License-Identifier: Apache-2.0
// ServiceHealth, beyond single requests: the rules of whole intervals, health checks, what outlives
// the worker, and what people see.
#include <algorithm>
#include <cmath>

#include "proxy/ejection.h"
#include "proxy/ejection_rules.h"
#include "proxy/node_state.h"

namespace np::proxy {
namespace {

double milliseconds_of(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

// Mean - factor x population deviation, of those with enough answers.
double least_success_percent(const std::vector<EndpointHealth*>& judged, double factor) {
  double sum = 0;
  for (const EndpointHealth* endpoint : judged) sum += endpoint->window->success_percent();
  const double mean = sum / static_cast<double>(judged.size());
  double squares = 0;
  for (const EndpointHealth* endpoint : judged) {
    const double away = endpoint->window->success_percent() - mean;
    squares += away * away;
  }
  return mean - std::sqrt(squares / static_cast<double>(judged.size())) * factor;
}

}  // namespace

// ---- whole intervals -------------------------------------------------------------------------

// Who takes part in a rule: nobody, unless enough of them have enough answers.
std::vector<EndpointHealth*> ServiceHealth::judged_by(const Rules& rules, uint32_t hosts,
                                                      uint32_t volume) const {
  std::vector<EndpointHealth*> judged;
  for (EndpointHealth* endpoint : rules.endpoints) {
    if (endpoint->window != nullptr && endpoint->window->answers() >= volume) {
      judged.push_back(endpoint);
    }
  }
  if (judged.size() < hosts) judged.clear();
  return judged;
}

// The first rule that an endpoint breaks in an interval decides, in shadow mode too, whatever
// cluster's it is.
void ServiceHealth::convict(EndpointHealth& endpoint, const Rules& rules, const EjectionReason& why,
                            Instant now, uint32_t shard, Swept& swept) {
  const bool is_told = is_rehearsal() && endpoint.would_at == now;
  if (endpoint.is_ejected() || is_told) return;
  swept.verdicts.push_back(try_eject(endpoint, rules, why, now, shard));
  save(endpoint);
}

void ServiceHealth::judge_interval(const Rules& rules, Instant now, uint32_t shard, Swept& swept) {
  const policy::Outlier& outlier = rules.outlier;
  if (const auto& rule = outlier.success_rate) {
    const auto judged = judged_by(rules, rule->minimum_hosts, rule->request_volume);
    const double least = judged.empty() ? 0 : least_success_percent(judged, rule->stdev_factor);
    for (EndpointHealth* endpoint : judged) {
      const double success = endpoint->window->success_percent();
      const EjectionReason why{EjectionCause::kSuccessRate, success, least};
      if (success < least) convict(*endpoint, rules, why, now, shard, swept);
    }
  }
  if (const auto& rule = outlier.failure_percentage) {
    for (EndpointHealth* endpoint : judged_by(rules, rule->minimum_hosts, rule->request_volume)) {
      const double failures = 100.0 - endpoint->window->success_percent();
      const double limit = rule->threshold;
      const EjectionReason why{EjectionCause::kFailurePercentage, failures, limit};
      if (failures >= limit) convict(*endpoint, rules, why, now, shard, swept);
    }
  }
  if (const auto& rule = outlier.latency) {
    for (EndpointHealth* endpoint : judged_by(rules, rule->minimum_hosts, rule->request_volume)) {
      const Duration took = endpoint->window->percentile(rule->percentile);
      const EjectionReason why{EjectionCause::kLatency, milliseconds_of(took),
                               milliseconds_of(rule->threshold), rule->percentile};
      if (took > rule->threshold) convict(*endpoint, rules, why, now, shard, swept);
    }
  }
}

// ---- health checks ---------------------------------------------------------------------------

void ServiceHealth::set_checked(const SocketAddress& address, bool healthy, Instant now,
                                uint32_t shard) {
  EndpointHealth& endpoint = this->endpoint(address);
  const SpinGuard guard(lock_);
  const uint32_t flags = endpoint.flags.load(std::memory_order_relaxed);
  const bool was_unhealthy = (flags & EndpointHealth::kUnhealthy) != 0;
  if (healthy && endpoint.is_ejected()) {
    bring_back(endpoint, now, false);
    wake_all(shard);
  }
  if (was_unhealthy == !healthy) return;
  endpoint.set(EndpointHealth::kUnhealthy, !healthy);
  if (healthy) endpoint.set(EndpointHealth::kUnproven | EndpointHealth::kReturned, true);
  version_.fetch_add(1, std::memory_order_release);
  EjectionEvent event;
  event.kind = healthy ? EjectionEvent::Kind::kHealthy : EjectionEvent::Kind::kUnhealthy;
  event.service_id = service_id_;
  event.endpoint = endpoint.address;
  event.at = now;
  node_.add_event(event);
  wake_all(shard);
}

// ---- beyond the worker -----------------------------------------------------------------------

void ServiceHealth::save(EndpointHealth& endpoint) {
  EjectionStore* store = node_.store();
  if (store == nullptr || is_rehearsal()) return;
  EjectionStore::Record record;
  record.ejected = endpoint.is_ejected();
  record.until = endpoint.until;
  record.count = endpoint.multiplier;
  record.unanswered = endpoint.unanswered + endpoint.restored_unanswered;
  record.failures = endpoint.held_against;
  const bool clean =
      !record.ejected && record.count == 0 && record.unanswered == 0 && record.failures == 0;
  if (!clean) {
    store->put(service_id_, endpoint.address, record);
  } else if (endpoint.saved) {
    store->erase(service_id_, endpoint.address);
  }
  endpoint.saved = !clean;
}

void ServiceHealth::restore(const SocketAddress& address, const Restored& record, Instant now) {
  EndpointHealth& endpoint = this->endpoint(address);
  const SpinGuard guard(lock_);
  endpoint.saved = true;
  endpoint.multiplier = record.count;
  // Of which kind they were is not known: not more than the nearest rule forgave.
  endpoint.consecutive_5xx = endpoint.consecutive_gateway = endpoint.consecutive_local =
      endpoint.held_against = record.failures;
  endpoint.calm_since = now;
  if (!record.ejected) {
    endpoint.restored_unanswered = record.unanswered;
    endpoint.restored = record.failures + record.unanswered > 0;
    return;
  }
  endpoint.ejected_at = now;
  endpoint.until = record.until;
  endpoint.why = {};
  endpoint.ejections = std::max<uint32_t>(record.count, 1);
  if (swept_ == Instant{}) swept_ = now;
  endpoint.set(EndpointHealth::kEjected, true);
  version_.fetch_add(1, std::memory_order_release);
}

bool ServiceHealth::has(const Rules& rules, const EndpointHealth& endpoint) {
  return std::find(rules.endpoints.begin(), rules.endpoints.end(), &endpoint) !=
         rules.endpoints.end();
}

// By rules that are in force now: what others found is no news.
void ServiceHealth::look_at_rehearsal(const EndpointHealth& rehearsed, View& view) {
  const SpinGuard guard(lock_);
  const bool is_judged = std::any_of(rules_.begin(), rules_.end(), [&](const auto& entry) {
    return has(entry.second, rehearsed);
  });
  if (!is_judged) return;
  view.would = rehearsed.would;
  view.would_at = rehearsed.would_at;
}

bool ServiceHealth::is_on_probation(const EndpointHealth& endpoint) const {
  const uint32_t flags = endpoint.flags.load(std::memory_order_relaxed);
  if ((flags & EndpointHealth::kUnproven) == 0) return false;
  return std::any_of(rules_.begin(), rules_.end(), [&](const auto& entry) {
    const Rules& rules = entry.second;
    return has(rules, endpoint) && holds_back(rules.outlier, standing(rules), flags);
  });
}

std::vector<ServiceHealth::View> ServiceHealth::views() {
  std::vector<View> list;
  const SpinGuard guard(lock_);
  for (const auto& [address, endpoint] : endpoints_) {
    View view;
    const uint32_t flags = endpoint->flags.load(std::memory_order_relaxed);
    view.address = address;
    view.ejected = (flags & EndpointHealth::kEjected) != 0;
    view.unhealthy = (flags & EndpointHealth::kUnhealthy) != 0;
    view.unanswered = endpoint->unanswered;
    view.consecutive = endpoint->failures_in_a_row();
    view.ejections = endpoint->ejections;
    view.why = endpoint->why;
    view.ejected_at = endpoint->ejected_at;
    view.until = endpoint->until;
    const uint32_t kept = std::min<uint32_t>(endpoint->failure_count, kSeenFailures);
    for (uint32_t i = endpoint->failure_count - kept; i != endpoint->failure_count; ++i) {
      view.failures.push_back(endpoint->failures[i % kSeenFailures]);
    }
    view.probation = is_on_probation(*endpoint);
    const EndpointHealth* rehearsed = endpoint->rehearsed.load(std::memory_order_relaxed);
    if (rehearsed != nullptr) rehearsal_->look_at_rehearsal(*rehearsed, view);
    list.push_back(std::move(view));
  }
  return list;
}

}  // namespace np::proxy
