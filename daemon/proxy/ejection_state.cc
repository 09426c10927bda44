// SPDX-License-Identifier: Apache-2.0
// ServiceHealth, beyond single requests: the rules of whole intervals, health checks, what outlives
// the worker, and what people see.
#include <algorithm>
#include <cmath>

#include "proxy/ejection.h"
#include "proxy/node_state.h"

namespace np::proxy {

// ---- whole intervals -------------------------------------------------------------------------

// Ejects below mean - factor x population deviation, among those with enough answers.
void ServiceHealth::judge_success_rate(const Rules& rules, Instant now, uint32_t shard) {
  const policy::SuccessRateRule& rule = *rules.outlier.success_rate;
  std::vector<EndpointHealth*> judged;
  double sum = 0;
  for (EndpointHealth* endpoint : rules.endpoints) {
    if (endpoint->window == nullptr || endpoint->window->answers() < rule.request_volume) continue;
    judged.push_back(endpoint);
    sum += endpoint->window->success_percent();
  }
  if (judged.empty() || judged.size() < rule.minimum_hosts) return;
  const double mean = sum / static_cast<double>(judged.size());
  double squares = 0;
  for (const EndpointHealth* endpoint : judged) {
    const double away = endpoint->window->success_percent() - mean;
    squares += away * away;
  }
  const double deviation = std::sqrt(squares / static_cast<double>(judged.size()));
  const double least = mean - deviation * rule.stdev_factor;
  for (EndpointHealth* endpoint : judged) {
    if (endpoint->is_ejected() || endpoint->window->success_percent() >= least) continue;
    (void)try_eject(*endpoint, rules, EjectionCause::kSuccessRate, now, shard);
    save(*endpoint);
  }
}

void ServiceHealth::judge_interval(const Rules& rules, Instant now, uint32_t shard) {
  const policy::Outlier& outlier = rules.outlier;
  if (outlier.success_rate) judge_success_rate(rules, now, shard);
  const auto eject_where = [&](uint32_t hosts, uint32_t volume, EjectionCause cause, auto guilty) {
    std::vector<EndpointHealth*> judged;
    for (EndpointHealth* endpoint : rules.endpoints) {
      if (endpoint->window != nullptr && endpoint->window->answers() >= volume) {
        judged.push_back(endpoint);
      }
    }
    if (judged.size() < hosts) return;
    for (EndpointHealth* endpoint : judged) {
      if (endpoint->is_ejected() || !guilty(*endpoint->window)) continue;
      (void)try_eject(*endpoint, rules, cause, now, shard);
      save(*endpoint);
    }
  };
  if (const auto& rule = outlier.failure_percentage) {
    eject_where(rule->minimum_hosts, rule->request_volume, EjectionCause::kFailurePercentage,
                [&](const EndpointWindow& window) {
                  return 100.0 - window.success_percent() >= rule->threshold;
                });
  }
  if (const auto& rule = outlier.latency) {
    eject_where(rule->minimum_hosts, rule->request_volume, EjectionCause::kLatency,
                [&](const EndpointWindow& window) {
                  return window.percentile(rule->percentile) > rule->threshold;
                });
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
    bring_back(endpoint, endpoint.cause, now, false);
    wake_all(shard);
  }
  if (was_unhealthy == !healthy) return;
  endpoint.flags.fetch_xor(EndpointHealth::kUnhealthy, std::memory_order_release);
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
  if (store == nullptr) return;
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
  endpoint.cause = EjectionCause::kNone;
  endpoint.ejections = std::max<uint32_t>(record.count, 1);
  if (swept_ == Instant{}) swept_ = now;
  endpoint.set(EndpointHealth::kEjected, true);
  version_.fetch_add(1, std::memory_order_release);
}

std::vector<ServiceHealth::View> ServiceHealth::views() {
  std::vector<View> list;
  const SpinGuard guard(lock_);
  for (const auto& [address, endpoint] : endpoints_) {
    View view;
    const uint32_t flags = endpoint->flags.load(std::memory_order_relaxed);
    view.address = address;
    view.ejected = (flags & EndpointHealth::kEjected) != 0;
    view.proven = (flags & EndpointHealth::kUnproven) == 0;
    view.unhealthy = (flags & EndpointHealth::kUnhealthy) != 0;
    view.unanswered = endpoint->unanswered;
    view.consecutive = endpoint->failures_in_a_row();
    view.ejections = endpoint->ejections;
    view.cause = endpoint->cause;
    view.ejected_at = endpoint->ejected_at;
    view.until = endpoint->until;
    const uint32_t kept = std::min<uint32_t>(endpoint->failure_count, kSeenFailures);
    for (uint32_t i = endpoint->failure_count - kept; i != endpoint->failure_count; ++i) {
      view.failures.push_back(endpoint->failures[i % kSeenFailures]);
    }
    list.push_back(std::move(view));
  }
  return list;
}

}  // namespace np::proxy
