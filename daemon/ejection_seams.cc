// SPDX-License-Identifier: Apache-2.0
#include "ejection_seams.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/time.h"

namespace np {
namespace {

using proxy::EjectionEvent;
using proxy::TryResult;

// The two clocks run alike; a moment on one is told by its distance from now.
uint64_t to_unix_ns(Instant at) {
  const int64_t away = (at - monotonic_now()).count();
  return static_cast<uint64_t>(static_cast<int64_t>(wall_clock_ns()) + away);
}
Instant from_unix_ns(uint64_t unix_ns) {
  return monotonic_now() +
         Duration(static_cast<int64_t>(unix_ns) - static_cast<int64_t>(wall_clock_ns()));
}

std::string seconds_text(Duration duration) {
  const auto milliseconds = std::chrono::round<std::chrono::milliseconds>(duration).count();
  if (milliseconds % 1000 == 0 || milliseconds > 10'000) {
    return std::to_string((milliseconds + 500) / 1000) + "s";
  }
  return std::to_string(milliseconds) + "ms";
}

std::string result_text(const TryResult& result) {
  switch (result.kind) {
    case TryResult::Kind::kAnswered:
      return "HTTP " + std::to_string(result.status);
    case TryResult::Kind::kConnectFailed:
      return "connect failed";
    case TryResult::Kind::kReset:
      return "reset before the answer";
    case TryResult::Kind::kTimedOut:
      return "timeout";
    case TryResult::Kind::kConnected:
      return "connected";
  }
  return "";
}

// At most two decimals, and only those that say something.
std::string number_text(double number) {
  std::array<char, 32> text{};
  const int wanted = std::snprintf(text.data(), text.size(), "%.2f", number);
  std::string result(text.data(), static_cast<size_t>(std::max(wanted, 0)));
  while (result.ends_with('0')) result.pop_back();
  if (result.ends_with('.')) result.pop_back();
  return result;
}

// The rule, with what was measured where it looks at whole intervals.
std::string reason_text(const proxy::EjectionReason& why) {
  const std::string found = number_text(why.found);
  const std::string limit = number_text(why.limit);
  switch (why.cause) {
    case proxy::EjectionCause::kSuccessRate:
      return "success rate " + found + "% below " + limit + "%";
    case proxy::EjectionCause::kFailurePercentage:
      return "failure percentage " + found + "%, its limit " + limit + "%";
    case proxy::EjectionCause::kLatency:
      return "latency p" + number_text(why.percentile) + " " + found + " ms over its limit " +
             limit + " ms";
    case proxy::EjectionCause::kTrial:
    case proxy::EjectionCause::kNone:
    case proxy::EjectionCause::kConsecutive5xx:
    case proxy::EjectionCause::kConsecutiveGateway:
    case proxy::EjectionCause::kConsecutiveLocal:
      break;
  }
  return proxy::to_text(why.cause);
}

bool has_a_last_failure(proxy::EjectionCause cause) {
  return cause == proxy::EjectionCause::kConsecutive5xx ||
         cause == proxy::EjectionCause::kConsecutiveGateway ||
         cause == proxy::EjectionCause::kConsecutiveLocal || cause == proxy::EjectionCause::kTrial;
}

// With the failure that was one too many.
std::string event_reason(const EjectionEvent& event) {
  std::string text = reason_text(event.why);
  if (!has_a_last_failure(event.why.cause)) return text;
  return text + ", the last one " +
         (event.last ? result_text(*event.last) : "before the worker restarted");
}

std::string shadow_text(const proxy::ShadowLog::Note& note) {
  const std::string text = "shadow: " + note.object + ": ";
  const std::string count = std::to_string(note.count);
  switch (note.kind) {
    case proxy::ShadowKind::kFault:
      return text + "faults would have hit " + count + " requests";
    case proxy::ShadowKind::kLimit:
      return text + "limits would have held back " + count + " requests";
    case proxy::ShadowKind::kRetry:
      return text + "maxRetries would have refused " + count + " repeats";
  }
  return text + count;
}

std::string event_text(const EjectionEvent& event) {
  const std::string who = event.endpoint.to_string();
  switch (event.kind) {
    case EjectionEvent::Kind::kEjected:
      return who + " ejected for " + seconds_text(event.until - event.at) + ": " +
             event_reason(event) + "; ejection " + std::to_string(event.ejections);
    case EjectionEvent::Kind::kReturned:
      return who + " is back, on probation";
    case EjectionEvent::Kind::kUnejected:
      return who + " was brought back by hand, on probation";
    case EjectionEvent::Kind::kWouldEject:
      return who + " would be ejected (shadow): " + event_reason(event);
    case EjectionEvent::Kind::kUnhealthy:
      return who + " fails its health checks";
    case EjectionEvent::Kind::kHealthy:
      return who + " passes its health checks";
  }
  return who;
}

// Nothing: it changes nothing for the endpoint (shadow mode).
std::optional<kernel::EndpointChange> change_of(const EjectionEvent& event) {
  using Kind = kernel::EndpointChange::Kind;
  kernel::EndpointChange change{Kind::kEjected, event.endpoint, event.service_id, 0};
  switch (event.kind) {
    case EjectionEvent::Kind::kEjected:
      change.count = event.ejections;
      return change;
    case EjectionEvent::Kind::kReturned:
    case EjectionEvent::Kind::kUnejected:
      change.kind = Kind::kReturned;
      return change;
    case EjectionEvent::Kind::kUnhealthy:
      change.kind = Kind::kUnhealthy;
      return change;
    case EjectionEvent::Kind::kHealthy:
      change.kind = Kind::kHealthy;
      return change;
    case EjectionEvent::Kind::kWouldEject:
      break;
  }
  return std::nullopt;
}

std::string standing_reason(const proxy::EjectionReason& why,
                            const std::vector<std::string>& failures) {
  if (why.cause == proxy::EjectionCause::kNone) return "ejected before the worker restarted";
  const bool has_last = has_a_last_failure(why.cause) && !failures.empty();
  return reason_text(why) + (has_last ? ": " + failures.back() : "");
}

control::EndpointStanding standing_of(const proxy::ServiceHealth::View& view) {
  control::EndpointStanding standing;
  standing.address = view.address;
  standing.state = view.probation ? "on probation" : "in service";
  standing.ejections = view.ejections;
  standing.unanswered = view.unanswered;
  const Instant now = monotonic_now();
  for (const proxy::SeenFailure& failure : view.failures) {
    standing.failures.push_back(result_text(failure.result) + " " + seconds_text(now - failure.at) +
                                " ago");
  }
  if (view.would.cause != proxy::EjectionCause::kNone) {
    standing.reason = "would be ejected (shadow, " + seconds_text(now - view.would_at) +
                      " ago): " + reason_text(view.would);
  }
  if (view.unhealthy) {
    standing.state = "unhealthy";
    standing.reason = "fails its health checks";
  }
  if (!view.ejected) return standing;
  standing.state = "ejected";
  standing.since_unix_ns = to_unix_ns(view.ejected_at);
  standing.until_unix_ns = to_unix_ns(view.until);
  standing.reason = standing_reason(view.why, standing.failures);
  return standing;
}

}  // namespace

// ---- np_eject --------------------------------------------------------------------------------

void KernelEjections::put(uint32_t service_id, const SocketAddress& endpoint,
                          const Record& record) {
  kernel::EjectionRecord entry;
  entry.endpoint = endpoint;
  entry.service_id = service_id;
  entry.until_unix_ns = record.ejected ? to_unix_ns(record.until) : 0;
  entry.ejected = record.ejected;
  entry.count = record.count;
  entry.unanswered = record.unanswered;
  entry.failures = record.failures;
  if (!link_.store_ejection(entry)) failed_writes_.fetch_add(1, std::memory_order_relaxed);
}

void KernelEjections::erase(uint32_t service_id, const SocketAddress& endpoint) {
  link_.erase_ejection(endpoint, service_id);
}

void KernelEjections::restore(proxy::NodeState& node) const {
  const Instant now = monotonic_now();
  for (const kernel::EjectionRecord& entry : link_.ejections()) {
    proxy::ServiceHealth::Restored record;
    record.ejected = entry.ejected;
    record.until = entry.ejected ? from_unix_ns(entry.until_unix_ns) : now;
    record.count = entry.count;
    record.failures = entry.failures;
    record.unanswered = entry.unanswered;
    node.health(entry.service_id).restore(entry.endpoint, record, now);
  }
}

// ---- the watch -------------------------------------------------------------------------------

Result<std::unique_ptr<EjectionWatch>> EjectionWatch::create() {
  Fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.is_open()) return system_error(errno, "make the event of ejections");
  return std::unique_ptr<EjectionWatch>(new EjectionWatch(std::move(fd)));
}

void EjectionWatch::notify() {
  const uint64_t one = 1;
  // Full means that the control thread has been told already.
  (void)!::write(fd_.get(), &one, sizeof one);
}

uint64_t EjectionWatch::lost_events() const {
  return node_->lost_events();
}

size_t EjectionWatch::ejected_now() {
  size_t count = 0;
  if (node_ == nullptr) return count;
  for (proxy::ServiceHealth* service : node_->services()) {
    const auto views = service->views();
    count += static_cast<size_t>(
        std::count_if(views.begin(), views.end(), [](const auto& view) { return view.ejected; }));
  }
  return count;
}

std::vector<control::EndpointStanding> EjectionWatch::standing(uint32_t service_id) {
  std::vector<control::EndpointStanding> list;
  for (proxy::ServiceHealth* service : node_->services()) {
    if (service->service_id() != service_id) continue;
    for (const auto& view : service->views()) list.push_back(standing_of(view));
  }
  return list;
}

std::map<uint32_t, std::vector<control::EndpointStanding>> EjectionWatch::all_standing() {
  std::map<uint32_t, std::vector<control::EndpointStanding>> all;
  for (proxy::ServiceHealth* service : node_->services()) {
    std::vector<control::EndpointStanding>& list = all[service->service_id()];
    for (const auto& view : service->views()) list.push_back(standing_of(view));
  }
  return all;
}

bool EjectionWatch::uneject(uint32_t service_id, const SocketAddress& address) {
  return node_->health(service_id).uneject(address, monotonic_now());
}

Instant EjectionWatch::next_deadline() {
  return node_->shadow_log().next_due();
}

std::vector<control::EndpointNote> EjectionWatch::take_notes() {
  uint64_t count = 0;
  (void)!::read(fd_.get(), &count, sizeof count);
  std::vector<control::EndpointNote> notes;
  for (const EjectionEvent& event : node_->take_events()) {
    notes.push_back({event.service_id, event_text(event)});
    const auto change = change_of(event);
    if (!change || link_ == nullptr) continue;
    if (const auto told = link_->note_endpoint(*change); !told) {
      log_warn("np_events: " + told.error().to_string());
    }
  }
  for (const auto& note : node_->shadow_log().take(monotonic_now())) {
    notes.push_back({0, shadow_text(note)});
  }
  return notes;
}

}  // namespace np
