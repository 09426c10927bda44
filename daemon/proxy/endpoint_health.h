// SPDX-License-Identifier: Apache-2.0
// EndpointHealth: what a node knows of one endpoint of a service: how its tries went, and whether
// it is ejected. Owned by its ServiceHealth, whose lock guards all but the flags; every shard.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>

#include "base/address.h"
#include "base/time.h"
#include "proxy/endpoint_window.h"

namespace np::proxy {

enum class EjectionCause : uint8_t {
  kNone,
  kConsecutive5xx,
  kConsecutiveGateway,
  kConsecutiveLocal,
  kSuccessRate,
  kFailurePercentage,
  kLatency,
  kTrial,  // half-open: the request that it got on coming back failed
};
const char* to_text(EjectionCause cause);

// Why an endpoint is ejected, or would be.
struct EjectionReason {
  EjectionCause cause = EjectionCause::kNone;
  // What a rule of whole intervals found, and what it allows: percent, or milliseconds for latency.
  double found = 0, limit = 0;
  double percentile = 0;  // latency
};

// What a try came to, for the endpoint that it was sent to.
struct TryResult {
  enum class Kind : uint8_t {
    kAnswered,       // `status`
    kConnectFailed,  // counts as 503, or as a local failure where those are split
    kReset,          // before the answer; same
    kTimedOut,       // route or per-try timeout; counts as 504, or as a local failure
    kConnected,      // opaque TCP: all there is to know
  };
  Kind kind = Kind::kAnswered;
  uint16_t status = 0;
  Duration took{};  // from the request to the head of the answer
};

// The latest failures of an endpoint, for people who ask why.
struct SeenFailure {
  TryResult result;
  Instant at;
};
inline constexpr size_t kSeenFailures = 4;

struct EndpointHealth {
  // Set while the endpoint needs the lock: not proven, has failures in a row, is ejected, or fails
  // its health checks.
  static constexpr uint32_t kUnproven = 1, kFailing = 2, kEjected = 4, kUnhealthy = 8;
  // With kUnproven: it was out, by an ejection or by its health checks.
  static constexpr uint32_t kReturned = 16;
  std::atomic<uint32_t> flags{kUnproven};

  // All else is guarded by the ServiceHealth's lock.
  SocketAddress address;
  // The record by rules in shadow mode, which are judged apart; set once.
  std::atomic<EndpointHealth*> rehearsed{nullptr};
  uint32_t unanswered = 0;  // requests under probation
  uint32_t consecutive_5xx = 0;
  uint32_t consecutive_gateway = 0;
  uint32_t consecutive_local = 0;
  uint32_t ejections = 0;   // ever
  uint32_t multiplier = 0;  // of the ejection time; grows with each, shrinks with good intervals
  Instant joined;           // as the policy says; a later one is a new endpoint at the old address
  // Of the worker before, judged when a policy is known: failures, and requests without an answer.
  bool restored = false;
  uint32_t restored_unanswered = 0;
  uint32_t held_against =
      0;               // of the failures in a row, by the rule that is nearest to an ejection
  bool saved = false;  // the store has a record
  EjectionReason why;  // of the latest ejection
  Instant ejected_at, until, calm_since;
  EjectionReason would;  // of the latest one that shadow mode kept from taking effect
  Instant would_at;
  SeenFailure failures[kSeenFailures];
  uint32_t failure_count = 0;
  std::unique_ptr<EndpointWindow> window;  // only where rules look at intervals

  bool is_ejected() const { return (flags.load(std::memory_order_relaxed) & kEjected) != 0; }
  bool is_unhealthy() const { return (flags.load(std::memory_order_relaxed) & kUnhealthy) != 0; }
  uint32_t failures_in_a_row() const {
    return std::max({consecutive_5xx, consecutive_gateway, consecutive_local});
  }
  void note_failure(const TryResult& result, Instant at) {
    failures[failure_count++ % kSeenFailures] = {result, at};
  }
  void set(uint32_t bits, bool on) {
    const uint32_t old = flags.load(std::memory_order_relaxed);
    flags.store(on ? old | bits : old & ~bits, std::memory_order_release);
  }
  bool is_plain() const { return flags.load(std::memory_order_relaxed) == 0; }
};

// How a cluster's endpoints stand, as its shard counted them at the latest version.
struct ServiceStanding {
  uint32_t endpoints = 0, ejected = 0;
};

}  // namespace np::proxy
