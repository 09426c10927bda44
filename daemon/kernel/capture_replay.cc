// SPDX-License-Identifier: Apache-2.0
#include "kernel/capture_replay.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

namespace np::kernel {

namespace {

using control::CaptureVerdict;
using Outcome = CaptureVerdict::Outcome;

constexpr uint64_t kNsPerSecond = 1'000'000'000;
constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint64_t kRefillNsMax = 60 * kNsPerSecond;

const char* to_text(uint8_t action) {
  switch (action) {
    case NP_ACTION_CAPTURE:
      return "CAPTURE";
    case NP_ACTION_REJECT:
      return "REJECT";
    case NP_ACTION_DRAIN:
      return "DRAIN";
    default:
      return "BYPASS";
  }
}

std::string text_of(const char (&name)[NP_NAME_BYTES]) {
  return {name, ::strnlen(name, sizeof(name))};
}

}  // namespace

struct CaptureReplay::Syn {
  const IpAddress& source;
  const SocketAddress& dialled;
  uint32_t ifindex = 0;
  uint64_t now = 0;
  CaptureVerdict verdict;
  np_config config{};
  np_live live{};
  np_svc service{};
  np_pod pod{};
  bool has_pod = false;

  void step(std::string text) { verdict.steps.push_back(std::move(text)); }
  // The end: always false, so that a step can return it.
  bool end(Outcome outcome, const char* counter, std::string reason) {
    verdict.outcome = outcome;
    verdict.counter = counter;
    verdict.reason = std::move(reason);
    return false;
  }
  bool fails_closed() const {
    if (service.fail != NP_FAIL_DEFAULT) return service.fail == NP_FAIL_CLOSED;
    if (has_pod && pod.fail != NP_FAIL_DEFAULT) return pod.fail == NP_FAIL_CLOSED;
    return config.default_fail == NP_FAIL_CLOSED;
  }
  // np_refuse_or_pass: it cannot be served.
  bool refuse_or_pass(const std::string& cause) {
    if (fails_closed()) return end(Outcome::kRefused, "failclosed", cause + "; it fails closed");
    return end(Outcome::kDirect, "failopen", cause + "; it fails open");
  }
};

CaptureReplay::CaptureReplay(const Maps& maps)
    : config_(maps.config),
      live_(maps.live),
      pods_(maps.pods),
      totals_(maps.pod_totals),
      services_(maps.services),
      prefixes_(maps.prefixes),
      listeners_(maps.listeners) {}

CaptureVerdict CaptureReplay::verdict(const IpAddress& source, uint32_t ifindex,
                                      const SocketAddress& dialled) {
  Syn syn{source, dialled, ifindex, to_ns(monotonic_now()), {}};
  const bool is_configured =
      config_.lookup(0, &syn.config) && live_.lookup(0, &syn.live) && syn.config.np0_ifindex != 0;
  if (!is_configured) {
    syn.end(Outcome::kDirect, "err_config", "np_config names no interface: capture never came up");
    return std::move(syn.verdict);
  }
  if (find_service(syn) && find_pod(syn) && ask_action(syn) && ask_served(syn) && ask_caps(syn)) {
    syn.end(Outcome::kCaptured, "captured", "policy covers it, and the daemon serves it");
  }
  return std::move(syn.verdict);
}

bool CaptureReplay::find_service(Syn& syn) const {
  np_svc_key exact{};
  std::memcpy(exact.ip, syn.dialled.ip.bytes.data(), sizeof(exact.ip));
  exact.port = syn.dialled.port;
  exact.proto = IPPROTO_TCP;
  np_cidr_key prefix{};
  prefix.prefixlen = NP_CIDR_BITS_MAX;
  prefix.port_be = htons(syn.dialled.port);
  std::memcpy(prefix.ip, syn.dialled.ip.bytes.data(), sizeof(prefix.ip));
  const char* map = "np_svc";
  if (!services_.lookup(exact, &syn.service)) {
    map = "np_cidr";
    if (!prefixes_.lookup(prefix, &syn.service)) {
      syn.step("np_svc, np_cidr: nothing for " + syn.dialled.to_string());
      return syn.end(Outcome::kDirect, "bypass", "no policy covers the dialled address and port");
    }
  }
  syn.step(std::string(map) + ": " + syn.dialled.to_string() + " is " + text_of(syn.service.name) +
           ", " + to_text(syn.service.action) + ", fails " +
           (syn.fails_closed() ? "closed" : "open") + ", generation " +
           std::to_string(syn.service.gen));
  return true;
}

// Not this interface's address (R9): it must not act under another pod's name.
bool CaptureReplay::find_pod(Syn& syn) const {
  np_pod_key key{};
  std::memcpy(key.ip, syn.source.bytes.data(), sizeof(key.ip));
  const bool is_known = pods_.lookup(key, &syn.pod);
  if (is_known && syn.pod.ifindex == syn.ifindex) {
    syn.has_pod = true;
    syn.step("np_pods: " + syn.source.to_string() + " is " + text_of(syn.pod.name) +
             " on interface " + std::to_string(syn.ifindex));
    return true;
  }
  syn.step("np_pods: " + syn.source.to_string() +
           (is_known ? " belongs to interface " + std::to_string(syn.pod.ifindex)
                     : std::string(" is not registered")));
  const std::string why = "the source address is not registered for its interface";
  if (syn.fails_closed()) return syn.end(Outcome::kDropped, "spoof_drop", why);
  return syn.end(Outcome::kDirect, "spoof", why);
}

bool CaptureReplay::ask_action(Syn& syn) const {
  if ((syn.live.flags & NP_LIVE_KILLSWITCH) != 0) {
    return syn.end(Outcome::kDirect, "killswitch", "capture is switched off on this node");
  }
  switch (syn.service.action) {
    case NP_ACTION_CAPTURE:
      return true;
    case NP_ACTION_REJECT:
      return syn.end(Outcome::kRefused, "reject", "the destination is set to reject");
    case NP_ACTION_DRAIN:
      return syn.end(Outcome::kDirect, "bypass_drain",
                     "its policy was removed: only connections that began before are captured");
    default:
      return syn.end(Outcome::kDirect, "bypass_action", "the destination is set to bypass");
  }
}

bool CaptureReplay::ask_served(Syn& syn) const {
  const auto age = static_cast<int64_t>(syn.now - syn.live.heartbeat_ns);
  const bool is_fresh =
      syn.live.heartbeat_ns != 0 && age < static_cast<int64_t>(syn.config.hb_timeout_ns);
  syn.step("np_live: heartbeat " + std::to_string(std::max<int64_t>(age, 0) / int64_t{kNsPerMs}) +
           " ms old, at most " + std::to_string(syn.config.hb_timeout_ns / kNsPerMs) + " ms");
  if (!is_fresh) return syn.refuse_or_pass("the daemon gives no sign of life (stale_hb)");
  if ((syn.live.flags & (NP_LIVE_OVERLOAD | NP_LIVE_DRAIN)) != 0) {
    return syn.refuse_or_pass("the daemon sheds load or is leaving (overload)");
  }
  const uint32_t slot = syn.pod.slot & (NP_LISTENERS_PER_FAMILY - 1U);
  const uint32_t index = syn.dialled.ip.is_v4() ? slot : NP_LISTENERS_PER_FAMILY + slot;
  uint64_t cookie = 0;
  const bool has_listener = listeners_.lookup(index, &cookie);
  syn.step("np_listeners: slot " + std::to_string(index) +
           (has_listener ? " holds a listener" : " is empty"));
  if (!has_listener) return syn.refuse_or_pass("no listener is in the pod's slot (no_listener)");
  return true;
}

bool CaptureReplay::ask_caps(Syn& syn) const {
  np_podst totals{};
  if (!totals_.lookup(syn.pod.pod_id, &totals)) {
    return syn.end(Outcome::kDirect, "err_config", "the pod is being detached");
  }
  const uint64_t open = totals.opened - totals.closed;
  const uint64_t full = uint64_t{syn.pod.syn_burst} * kNsPerSecond;
  uint64_t tokens = totals.tokens;
  const auto elapsed = static_cast<int64_t>(syn.now - totals.refill_ns);
  if (elapsed > 0) {
    tokens += std::min(static_cast<uint64_t>(elapsed), kRefillNsMax) * syn.pod.syn_rate;
    tokens = std::min(tokens, full);
  }
  const bool has_rate = syn.pod.syn_rate != 0;
  syn.step("np_podst: " + std::to_string(open) + " of " +
           (syn.pod.max_flows == 0 ? "any number of" : std::to_string(syn.pod.max_flows)) +
           " flows open" +
           (has_rate ? ", " + std::to_string(tokens / kNsPerSecond) + " of " +
                           std::to_string(syn.pod.syn_burst) + " new ones allowed now"
                     : std::string()));
  if (syn.pod.max_flows != 0 && static_cast<int64_t>(open) >= int64_t{syn.pod.max_flows}) {
    return syn.end(Outcome::kRefused, "cap_flows", "the pod has as many connections as it may");
  }
  if (has_rate && tokens < kNsPerSecond) {
    return syn.end(Outcome::kDropped, "cap_rate", "the pod opens connections faster than it may");
  }
  return true;
}

}  // namespace np::kernel
