// SPDX-License-Identifier: Apache-2.0
#include "control/guard_verbs.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/log.h"
#include "control/seams.h"

namespace np::control {
namespace {

constexpr uint64_t kRateMax = 1'000'000;
constexpr uint64_t kBurstMax = 1'000'000;
constexpr size_t kInterfaceNameMax = 15;

void log_change(const std::string& what, const Peer& peer) {
  log_info("guard: " + what + " by uid " + std::to_string(peer.uid) + " pid " +
           std::to_string(peer.pid));
}

Json answer(const Result<void>& result, const std::string& what, const Peer& peer) {
  if (!result) return refusal(result.error().to_string());
  log_change(what, peer);
  return {{"ok", true}};
}

Json to_json(const GuardState& state) {
  return {{"ifname", state.place.ifname}, {"mode", state.place.mode}, {"hook", state.hook},
          {"ifindex", state.ifindex},     {"note", state.note},       {"problem", state.problem}};
}

bool is_interface_name(const std::string& name) {
  return !name.empty() && name.size() <= kInterfaceNameMax && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return c > ' ' && c <= '~' && c != '/'; });
}

// Nothing: one of them is no prefix; `problem` says which.
std::optional<std::vector<IpPrefix>> prefixes_of(const std::vector<std::string>& texts,
                                                 std::string& problem) {
  std::vector<IpPrefix> prefixes;
  for (const std::string& text : texts) {
    const auto prefix = IpPrefix::parse(text);
    if (!prefix) {
      problem = "found \"" + text + "\"; allowed: an address, or ADDRESS/BITS without host bits";
      return std::nullopt;
    }
    prefixes.push_back(*prefix);
  }
  return prefixes;
}

// "*:80" is every address of this node, in both families.
std::vector<SocketAddress> destinations_of(const std::string& text) {
  if (text.rfind("*:", 0) != 0) {
    const auto address = SocketAddress::parse(text);
    return address && address->port != 0 ? std::vector<SocketAddress>{*address}
                                         : std::vector<SocketAddress>{};
  }
  std::vector<SocketAddress> both = destinations_of("0.0.0.0" + text.substr(1));
  if (both.empty()) return both;
  both.push_back({IpAddress{}, both.front().port});
  return both;
}

Json to_json(const GuardUse& use, bool is_asked) {
  return {{"destination", use.limit.destination.to_string()},
          {"rate", use.limit.rate},
          {"burst", use.limit.burst},
          {"sheds", use.limit.sheds},
          {"origin", is_asked ? "limit" : "listener"},
          {"passed", use.passed},
          {"limited", use.limited},
          {"shed", use.shed}};
}

}  // namespace

Json guard_attach(GuardBook& guard, Arguments& arguments, const Peer& peer) {
  const GuardPlace place{arguments.text("ifname"), arguments.text("mode")};
  if (!arguments.problem().empty()) return refusal(arguments.problem());
  if (!is_interface_name(place.ifname)) {
    return refusal("found \"" + place.ifname + "\"; allowed: an interface's name");
  }
  if (place.mode != "" && place.mode != "native" && place.mode != "generic" && place.mode != "tc") {
    return refusal("--mode: found \"" + place.mode + "\"; allowed: native, generic, tc");
  }
  const Result<GuardState> state = guard.attach(place);
  if (!state) return refusal(state.error().to_string());
  log_change("attached to " + place.ifname + " (" + state->hook + ")", peer);
  return {{"ok", true}, {"interface", to_json(*state)}};
}

Json guard_detach(GuardBook& guard, Arguments& arguments, const Peer& peer) {
  const std::string ifname = arguments.text("ifname");
  if (!arguments.problem().empty()) return refusal(arguments.problem());
  if (!is_interface_name(ifname)) {
    return refusal("found \"" + ifname + "\"; allowed: an interface's name");
  }
  return answer(guard.detach(ifname), "detached from " + ifname, peer);
}

Json guard_deny(GuardBook& guard, Arguments& arguments, const Peer& peer) {
  const std::vector<std::string> added = arguments.texts("add"),
                                 removed = arguments.texts("remove");
  if (!arguments.problem().empty()) return refusal(arguments.problem());
  std::string problem;
  const auto add = prefixes_of(added, problem), remove = prefixes_of(removed, problem);
  if (!add || !remove) return refusal(problem);
  if (add->empty() == remove->empty()) return refusal("give prefixes to add, or to remove");
  std::string what = add->empty() ? "allowed" : "denied";
  for (const IpPrefix& prefix : add->empty() ? *remove : *add) what += " " + prefix.to_string();
  return answer(add->empty() ? guard.allow(*remove) : guard.deny(*add), what, peer);
}

Json guard_limit(GuardBook& guard, Arguments& arguments, const Peer& peer) {
  const std::string text = arguments.text("destination");
  const bool is_removal = arguments.flag("remove");
  const uint64_t rate = arguments.number("rate", 0);
  const uint64_t burst = arguments.number("burst", std::max<uint64_t>(rate, 1));
  const bool sheds = !arguments.flag("keep");
  if (!arguments.problem().empty()) return refusal(arguments.problem());
  const std::vector<SocketAddress> destinations = destinations_of(text);
  if (destinations.empty()) {
    return refusal("found \"" + text + "\"; allowed: ADDRESS:PORT, [ADDRESS]:PORT, *:PORT");
  }
  if (is_removal) return answer(guard.unlimit(destinations), "unlimited " + text, peer);
  if (rate > kRateMax || burst < 1 || burst > kBurstMax) {
    return refusal("found " + std::to_string(rate) + "/" + std::to_string(burst) +
                   "; allowed: RATE from 0 (no limit) to " + std::to_string(kRateMax) +
                   " per second, BURST from 1 to " + std::to_string(kBurstMax));
  }
  std::vector<GuardLimit> limits;
  for (const SocketAddress& destination : destinations) {
    limits.push_back(
        {destination, static_cast<uint32_t>(rate), static_cast<uint32_t>(burst), sheds});
  }
  return answer(guard.limit(limits),
                "limited " + text + " to " + std::to_string(rate) + "/" + std::to_string(burst),
                peer);
}

Json view_guard(const GuardBook& guard) {
  if (guard.host() == nullptr) return refusal("guard: the daemon runs with --no-capture");
  Json interfaces = Json::array(), denied = Json::array(), limits = Json::array();
  for (const GuardState& state : guard.host()->states()) interfaces.push_back(to_json(state));
  for (const IpPrefix& prefix : guard.settings().denied) denied.push_back(prefix.to_string());
  for (const GuardUse& use : guard.host()->uses()) {
    const auto& asked = guard.settings().limits;
    limits.push_back(to_json(use, std::any_of(asked.begin(), asked.end(), [&](const auto& limit) {
                               return limit.destination == use.limit.destination;
                             })));
  }
  Json counters = Json::object();
  for (const NamedCounter& counter : guard.host()->counters()) {
    counters[counter.name] = counter.value;
  }
  return {{"ok", true},
          {"interfaces", std::move(interfaces)},
          {"denied", std::move(denied)},
          {"destinations", std::move(limits)},
          {"counters", std::move(counters)}};
}

}  // namespace np::control
