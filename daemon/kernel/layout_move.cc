// SPDX-License-Identifier: Apache-2.0
#include "kernel/layout_move.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <set>

#include "bpf/abi/np_abi.h"
#include "kernel/guard_attach.h"
#include "kernel/hook.h"
#include "kernel/loader.h"
#include "kernel/pin_versions.h"

namespace np::kernel {

namespace {

constexpr const char* kPickLink = "np_pick";
constexpr const char* kReturnLink = "np_ret_in";
constexpr const char* kPodInPrefix = "pod_in_";
constexpr const char* kPodOutPrefix = "pod_out_";

// Sockets cannot be copied, the ring holds events that were for somebody else.
bool is_moved(Map map) {
  return map != Map::kListeners && map != Map::kEvents;
}

bool has_totals(Map map) {
  return map == Map::kPodStats || map == Map::kServiceStats || map == Map::kStats ||
         map == Map::kGuardDestinations || map == Map::kGuardStats;
}

bool is_array(const MapShape& shape) {
  return shape.type == BPF_MAP_TYPE_ARRAY || shape.type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

// Fields of the maps with totals that are no counters.
bool is_counter(const std::string& name) {
  static const std::set<std::string> others = {"lock.val",  "mac",  "gw_mac", "tokens",
                                               "refill_ns", "name", "tat_ns", "interval_ns",
                                               "slack_ns",  "rate", "burst",  "flags"};
  return others.count(name) == 0;
}

struct Needed {
  Map map;
  const char* field;
};
// Without these an entry would mean something else, not merely know less.
constexpr Needed kNeeded[] = {
    {Map::kPods, "ifindex"},
    {Map::kPods, "pod_id"},
    {Map::kServices, "svc_id"},
    {Map::kServices, "fail"},
    {Map::kServices, "action"},
    {Map::kCidr, "svc_id"},
    {Map::kCidr, "fail"},
    {Map::kCidr, "action"},
    {Map::kFlows, "state"},
    {Map::kFlows, "flags"},
    {Map::kFlows, "pod_id"},
    {Map::kFlows, "svc_id"},
    {Map::kFlows, "tx_isn"},
    {Map::kFlows, "rx_isn"},
    {Map::kFlows, "last_ns"},
    {Map::kGuardDeny, "action"},
    {Map::kGuardDestinations, "interval_ns"},
    {Map::kGuardDestinations, "slack_ns"},
};

RecordFields part_of(const RecordFields& fields, bool counters) {
  RecordFields part;
  for (const auto& [name, field] : fields) {
    if (is_counter(name) == counters) part[name] = field;
  }
  return part;
}

// Every CPU's value of a per-CPU map, or the one value.
void apply_to_all(const RecordCopy& copy, const MapShape& from_shape, const MapShape& to_shape,
                  const std::string& from, std::string* to) {
  const size_t values = from_shape.is_per_cpu() ? from.size() / from_shape.stride() : 1;
  for (size_t i = 0; i < values; ++i) {
    copy.apply(from.data() + i * from_shape.stride(), to->data() + i * to_shape.stride());
  }
}

bool is_zero(const std::string& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0; });
}

bool has_prefix(const std::string& link, const char* prefix) {
  return link.rfind(prefix, 0) == 0;
}

Program program_of(const std::string& link) {
  if (link == kPickLink) return Program::kPick;
  if (link == kReturnLink) return Program::kRetIn;
  if (has_prefix(link, kGuardXdpPin)) return Program::kGuard;
  if (has_prefix(link, kGuardTcPin)) return Program::kGuardTc;
  return link.rfind(kPodOutPrefix, 0) == 0 ? Program::kPodOut : Program::kPodIn;
}

}  // namespace

Error LayoutMove::refuse(Map map, const std::string& why) const {
  return Error{ErrorCode::kUnsupported, "take over the kernel state in " + source_root_,
               std::string(map_name(map)) + " of another layout " + why,
               "run `nodectl detach --all` with the version that made it, then start again"};
}

Result<LayoutMove> LayoutMove::plan(const Loader& target, const std::string& source_root) {
  LayoutMove move(target, source_root);
  NP_TRY(move.plan_links());
  for (uint32_t i = 0; i < static_cast<uint32_t>(Map::kCount); ++i) {
    if (is_moved(static_cast<Map>(i))) NP_TRY(move.plan_map(static_cast<Map>(i)));
  }
  return move;
}

Result<void> LayoutMove::plan_links() const {
  for (const std::string& name : list_pins(source_root_ + "/links")) {
    const bool is_pods = has_prefix(name, kPodInPrefix) || has_prefix(name, kPodOutPrefix);
    const bool is_guards = has_prefix(name, kGuardXdpPin) || has_prefix(name, kGuardTcPin);
    if (name == kPickLink || name == kReturnLink || is_pods || is_guards) continue;
    return Error{ErrorCode::kUnsupported, "take over the kernel state in " + source_root_,
                 "this version does not know what its link " + name + " is for",
                 "run `nodectl detach --all` with the version that made it, then start again"};
  }
  return ok();
}

Result<void> LayoutMove::plan_map(Map map) {
  const std::string path = source_root_ + "/maps/" + map_name(map);
  Fd from(::bpf_obj_get(path.c_str()));
  if (!from.is_open() && errno == ENOENT) return ok();  // unknown to that version
  if (!from.is_open()) return system_error(errno, "open " + path);
  NP_TRY_ASSIGN(MapShape from_shape, MapShape::read(from.get()));
  NP_TRY_ASSIGN(MapShape to_shape, MapShape::read(target_.map_fd(map)));
  if (!from_shape.has_types) return refuse(map, "has no type information");
  if (from_shape.is_per_cpu() != to_shape.is_per_cpu() ||
      is_array(from_shape) != is_array(to_shape)) {
    return refuse(map, "is another kind of map");
  }
  if (!is_same_key(from_shape.key, to_shape.key)) return refuse(map, "has other keys");
  for (const Needed& needed : kNeeded) {
    if (needed.map != map) continue;
    const auto found = from_shape.value.find(needed.field);
    if (found == from_shape.value.end() ||
        found->second.bytes != to_shape.value.at(needed.field).bytes) {
      return refuse(map, std::string("has no field ") + needed.field + " of the size needed");
    }
  }
  const RecordCopy key(from_shape.key, to_shape.key);
  const RecordFields plain = has_totals(map) ? part_of(to_shape.value, false) : to_shape.value;
  const RecordFields added = has_totals(map) ? part_of(to_shape.value, true) : RecordFields{};
  const RecordCopy value(from_shape.value, plain), counters(from_shape.value, added);
  const int to = target_.map_fd(map);
  moves_.push_back(
      {map, std::move(from), to, std::move(from_shape), std::move(to_shape), key, value, counters});
  return ok();
}

// The keys first: entries may come, change and go while they are visited.
Result<void> LayoutMove::for_each(const MapMove& move, const Visit& visit) const {
  std::set<std::string> keys;
  std::string next(move.from_shape.key_bytes, 0), key;
  // A key that was removed meanwhile starts the walk anew.
  for (uint64_t steps = 0; steps <= 2 * uint64_t{move.from_shape.max_entries}; ++steps) {
    if (map_next(move.from.get(), key.empty() ? nullptr : key.data(), next.data()) != 0) break;
    keys.insert(next);
    key = next;
  }
  Entry entry;
  for (const std::string& old_key : keys) {
    entry.old_key = old_key;
    entry.old_value.assign(move.from_shape.buffer_bytes(), 0);
    const int failed = map_lookup(move.from.get(), old_key.data(), entry.old_value.data());
    if (failed == ENOENT) continue;
    if (failed != 0) return system_error(failed, std::string("read ") + map_name(move.map));
    if (is_array(move.from_shape) && is_zero(entry.old_value)) continue;
    entry.key.assign(move.to_shape.key_bytes, 0);
    move.key.apply(old_key.data(), entry.key.data());
    entry.value.assign(move.to_shape.buffer_bytes(), 0);
    apply_to_all(move.value, move.from_shape, move.to_shape, entry.old_value, &entry.value);
    NP_TRY(visit(entry));
  }
  return ok();
}

Result<void> LayoutMove::copy(Scope scope) {
  const MapMove* config = nullptr;
  for (MapMove& move : moves_) {
    if (move.map == Map::kConfig) {
      config = &move;
    } else {
      NP_TRY(copy_map(move, scope));
    }
  }
  return scope == Scope::kAll && config != nullptr ? copy_config(*config) : ok();
}

Result<void> LayoutMove::copy_map(MapMove& move, Scope scope) {
  if (is_array(move.to_shape) && (scope == Scope::kMissing || has_totals(move.map))) return ok();
  return for_each(move, [&move](const Entry& entry) -> Result<void> {
    const bool only_new = !is_array(move.to_shape);
    const int failed = map_update(move.to, entry.key.data(), entry.value.data(), only_new);
    if (failed == 0) ++move.moved;
    if (failed == 0 || failed == EEXIST) return ok();
    Error error = system_error(failed, std::string("copy ") + map_name(move.map));
    if (failed == E2BIG) error.detail = "it holds more entries than this version has room for";
    return error;
  });
}

Result<void> LayoutMove::copy_config(const MapMove& move) const {
  np_config config{};
  NP_TRY(for_each(move, [&config](const Entry& entry) -> Result<void> {
    std::memcpy(&config, entry.value.data(), sizeof(config));
    return ok();
  }));
  return target_.write_config(config);
}

Result<void> LayoutMove::switch_link(const std::string& name) {
  const std::string pin = source_root_ + "/links/" + name;
  const Result<void> updated = update_pinned_link(pin, target_.program_fd(program_of(name)));
  // Its interface or namespace is gone: so is what it captured.
  if (!updated && updated.error().code == ErrorCode::kNotFound) return ok();
  NP_TRY(updated);
  const std::string moved = target_.link_pin(name);
  if (::rename(pin.c_str(), moved.c_str()) != 0) return system_error(errno, "move " + pin);
  return ok();
}

// Filters by clsact have no pins: they are found at the interfaces that have no link.
Result<void> LayoutMove::switch_filter(uint32_t ifindex, const std::string& link,
                                       Program program) const {
  if (::access(target_.link_pin(link).c_str(), F_OK) == 0) return ok();
  const char* name = program == Program::kRetIn   ? "np_ret_in"
                     : program == Program::kPodIn ? "np_pod_in"
                                                  : "np_pod_out";
  const HookSide side = program == Program::kPodOut ? HookSide::kEgress : HookSide::kIngress;
  return update_filter({ifindex, "", name, side}, target_.program_fd(program));
}

Result<void> LayoutMove::switch_filters() const {
  const MapView<np_pod_key, np_pod> pods(target_.map_fd(Map::kPods));
  Result<void> result = ok();
  pods.for_each([this, &result](const np_pod_key&, const np_pod& pod) {
    const std::string number = std::to_string(pod.ifindex);
    result = switch_filter(pod.ifindex, kPodInPrefix + number, Program::kPodIn);
    if (result) result = switch_filter(pod.ifindex, kPodOutPrefix + number, Program::kPodOut);
    return result.has_value();
  });
  NP_TRY(std::move(result));
  NP_TRY(switch_guard_filters());
  NP_TRY_ASSIGN(const np_config config, target_.read_config());
  return switch_filter(config.np0_ifindex, kReturnLink, Program::kRetIn);
}

Result<void> LayoutMove::switch_guard_filters() const {
  const Fd stats(::bpf_obj_get((source_root_ + "/maps/" + map_name(Map::kGuardStats)).c_str()));
  if (!stats.is_open()) return ok();  // that version has no guard
  NP_TRY_ASSIGN(Netlink netlink, Netlink::open());
  NP_TRY_ASSIGN(const std::vector<LinkInfo> links, netlink.links());
  for (const uint32_t ifindex : find_guard_filters(links, stats.get())) {
    NP_TRY(update_filter({ifindex, "", kGuardTcProgram, HookSide::kIngress},
                         target_.program_fd(Program::kGuardTc)));
  }
  return ok();
}

// np_pick comes last: it admits what np_pod_in has recorded, and while nobody listens in the new
// maps the new np_pod_in records no connection. A refused one is refused by either.
Result<void> LayoutMove::switch_programs() {
  const std::vector<std::string> names = list_pins(source_root_ + "/links");
  for (const std::string& name : names) {
    if (name != kPickLink) NP_TRY(switch_link(name));
  }
  NP_TRY(switch_filters());
  const bool has_pick = std::find(names.begin(), names.end(), kPickLink) != names.end();
  return has_pick ? switch_link(kPickLink) : ok();
}

Result<void> LayoutMove::complete() {
  for (MapMove& move : moves_) {
    if (move.map == Map::kFlows) NP_TRY(complete_flows(move));
    if (has_totals(move.map)) NP_TRY(add_totals(move));
  }
  return ok();
}

// A connection that came or went on under the old program after it was copied.
Result<void> LayoutMove::complete_flows(const MapMove& move) {
  const MapView<np_flow_key, np_flow> flows(move.to);
  return for_each(move, [&flows](const Entry& entry) -> Result<void> {
    np_flow_key key;
    np_flow old, now{};
    std::memcpy(&key, entry.key.data(), sizeof(key));
    std::memcpy(&old, entry.value.data(), sizeof(old));
    int failed = 0;
    if (!flows.lookup(key, &now)) {
      failed = flows.add(key, old);
    } else if (old.last_ns > now.last_ns) {
      failed = flows.put(key, old);
    } else if (old.state > now.state) {
      now.state = old.state;
      now.flags |= old.flags;
      failed = flows.put(key, now);
    }
    if (failed == 0 || failed == EEXIST) return ok();
    return system_error(failed, "complete np_flows");
  });
}

// Each old entry is gone once it was added, so that a repetition adds nothing.
Result<void> LayoutMove::add_totals(const MapMove& move) {
  return for_each(move, [&move](const Entry& entry) -> Result<void> {
    std::string added(move.to_shape.buffer_bytes(), 0), sum(added.size(), 0);
    apply_to_all(move.counters, move.from_shape, move.to_shape, entry.old_value, &added);
    if (map_lookup(move.to, entry.key.data(), sum.data()) != 0) sum = entry.value;
    for (size_t at = 0; at + sizeof(uint64_t) <= sum.size(); at += sizeof(uint64_t)) {
      uint64_t one, other;
      std::memcpy(&one, sum.data() + at, sizeof(one));
      std::memcpy(&other, added.data() + at, sizeof(other));
      one += other;
      std::memcpy(sum.data() + at, &one, sizeof(one));
    }
    const int failed = map_update(move.to, entry.key.data(), sum.data(), false);
    if (failed != 0) return system_error(failed, std::string("add up ") + map_name(move.map));
    if (!is_array(move.from_shape)) {
      map_erase(move.from.get(), entry.old_key.data());
    } else {
      const std::string nothing(entry.old_value.size(), 0);
      map_update(move.from.get(), entry.old_key.data(), nothing.data(), false);
    }
    return ok();
  });
}

void LayoutMove::remove_source() {
  remove_pin_version(source_root_);
}

std::string LayoutMove::summary() const {
  std::string text = "took over the kernel state in " + source_root_ + ":";
  for (const MapMove& move : moves_) {
    if (move.moved > 0) text += " " + std::to_string(move.moved) + " of " + map_name(move.map);
  }
  return text;
}

}  // namespace np::kernel
