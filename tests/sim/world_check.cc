// SPDX-License-Identifier: Apache-2.0
// World: what must hold, at every step and at rest.
#include <algorithm>

#include "tests/sim/places.h"
#include "tests/sim/world.h"

namespace np::sim {
namespace {

constexpr size_t kToldMax = 20;  // of one world; more would say nothing new

}  // namespace

void World::expect(bool holds, const std::string& what) {
  if (!holds && ledger_.violations.size() < kToldMax) ledger_.violation(what);
}

void World::expect_equal(uint64_t a, uint64_t b, const std::string& what) {
  expect(a == b, what + ": " + std::to_string(a) + " and not " + std::to_string(b));
}

void World::expect_at_most(uint64_t a, uint64_t b, const std::string& what) {
  expect(a <= b, what + ": " + std::to_string(a) + " is more than " + std::to_string(b));
}

// ---- at every step ---------------------------------------------------------------------------

// No origin sees more than is allowed, and nobody waits while there is room.
void World::watch() {
  const uint32_t callers = latest_pool_.scope_node ? 1 : kCallers;
  uint32_t together = 0;
  for (uint32_t i = 0; i < kCallers; ++i) together += ledger_.open[i].now;
  for (uint32_t i = 0; i < callers; ++i) {
    const uint32_t seen = latest_pool_.scope_node ? together : ledger_.open[i].now;
    expect_at_most(seen, most_requests_,
                   "requests that origins have of caller " + std::to_string(i));
    const auto counts = network_->node().admission(kWebClusterId, i).counts();
    expect_at_most(counts.running, most_requests_, "running");
    const bool has_room =
        counts.running < counts.max_connections && counts.running < counts.max_requests;
    expect(counts.waiting == 0 || !has_room, "somebody waits although there is room");
    expect_at_most(counts.retries, most_retries_, "retries");
    if (!changes_limits_) expect_at_most(counts.waiting, counts.max_pending, "waiting");
  }
  expect_at_most(ledger_.open_tcp.now, most_tcp_, "opaque connections that origins have");
}

// ---- at rest ---------------------------------------------------------------------------------

void World::check_rest() {
  const proxy::EngineCounters c = network_->counters();
  expect_equal(c.downstream_rq_started,
               c.downstream_rq_completed + c.downstream_rq_refused + c.downstream_rq_aborted,
               "started, completed + refused + aborted");
  expect_equal(c.tcp_cx_started, c.tcp_cx_ended, "opaque connections started, ended");
  expect_equal(c.mirror_started, c.mirror_ended, "mirrors started, ended");
  expect_equal(c.upstream_cx_total, c.upstream_cx_destroy, "upstream connections made, destroyed");
  expect_equal(c.downstream_cx_total, c.downstream_cx_destroy, "clients accepted, closed");
  const uint64_t answered = c.downstream_rq_completed + c.downstream_rq_refused;
  const uint64_t seen = ledger_.answered + ledger_.own_answers;
  expect_at_most(seen, answered, "answers that clients saw");
  expect_at_most(answered, seen + ledger_.cut, "answers given");
  expect_equal(network_->open_downstream(), 0, "open downstream");
  expect_equal(network_->open_upstream(), 0, "open upstream");
  expect_equal(network_->wires_open(), 0, "wires open");
  expect_equal(network_->buffers_out(), 0, "buffers not given back");
  expect(network_->next_deadline() == kNever, "a deadline is left");
  if (ledger_.clean) expect_equal(ledger_.answered, ledger_.asked, "answered, asked");
  check_limits();
  check_ejections();
}

void World::check_limits() {
  const proxy::EngineCounters c = network_->counters();
  expect_at_most(ledger_.overloaded, c.ended_overflow, "overflows that clients saw");
  expect_at_most(c.ended_overflow, ledger_.overloaded + ledger_.cut, "overflows given");
  const uint64_t counted = c.upstream_rq_pending_overflow + c.upstream_rq_overflow;
  expect_at_most(c.ended_overflow, counted, "overflows given, counted");
  expect_at_most(counted, c.ended_overflow + c.ended_mirror_failed, "overflows counted");
  if (!limited_) {
    expect_equal(counted, 0, "overflows without limits");
    return;
  }
  uint64_t rejected = 0;
  for (uint32_t i = 0; i < kCallers; ++i) {
    const auto counts = network_->node().admission(kWebClusterId, i).counts();
    expect_equal(counts.running, 0, "running at rest");
    expect_equal(counts.waiting, 0, "waiting at rest");
    expect_equal(counts.retries, 0, "retries at rest");
    expect_equal(counts.open, 0, "connections at rest");
    expect_equal(ledger_.open[i].now, 0, "requests that origins still have");
    rejected += counts.rejected;
    const bool used = !latest_pool_.scope_node && ledger_.open[i].most > 0;
    if (used) expect_equal(counts.max_connections, latest_pool_.max_connections, "latest limit");
  }
  expect_equal(rejected, counted, "refused by the groups, counted by the engines");
  expect_equal(ledger_.open_tcp.now, 0, "opaque connections that origins still have");
  for (const LimitSlot& slot : network_->limit_slots()) {
    expect_equal(slot.active + slot.pending, 0, "np_limit at rest");
  }
}

void World::check_ejections() {
  const proxy::EngineCounters c = network_->counters();
  const SocketAddress broken = SocketAddress::parse(kWeb[0]).value();
  uint64_t ejected = 0, broken_returned = 0;
  for (const proxy::EjectionEvent& event : network_->node().take_events()) {
    using Kind = proxy::EjectionEvent::Kind;
    if (event.kind == Kind::kEjected) ++ejected;
    if (event.kind == Kind::kReturned && event.endpoint == broken) ++broken_returned;
  }
  if (network_->node().lost_events() == 0) {
    expect_equal(ejected, c.outlier_ejections_enforced_total, "ejections told, counted");
  }
  if (ledger_.clean || !ejects_) expect_equal(ejected, 0, "ejections without a reason");
  for (const auto& view : network_->node().health(kWebServiceId).views()) {
    expect_equal(view.unanswered, 0, "unanswered at rest");
    expect(!view.ejected, "ejected at rest");
  }
  for (const auto& [key, record] : network_->store().records) {
    expect_equal(record.unanswered, 0, "unanswered in the store");
  }
  if (!has_broken_) return;
  // As many 503s as it takes, each time that it is in service.
  const uint32_t gateway = outlier_->consecutive_gateway_errors;
  const uint32_t fatal =
      gateway > 0 ? std::min(gateway, outlier_->consecutive_5xx) : outlier_->consecutive_5xx;
  const uint64_t allowed = fatal * (broken_returned + 1);
  expect_at_most(ledger_.asked_of_broken, allowed, "requests to the broken origin");
}

}  // namespace np::sim
