// SPDX-License-Identifier: Apache-2.0
#include "kernel/capture_table.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstring>

namespace np::kernel {

namespace {

// Closed flows stay in np_flows for a minute and late segments of theirs must still be caught.
constexpr Duration kDrainAtLeast = std::chrono::seconds(70);

uint8_t to_fail(policy::FailMode mode) {
  return mode == policy::FailMode::kClosed ? NP_FAIL_CLOSED : NP_FAIL_OPEN;
}

void put_name(char (&field)[NP_NAME_BYTES], const std::string& name) {
  std::memset(field, 0, sizeof(field));
  std::memcpy(field, name.data(), std::min(name.size(), sizeof(field) - 1));
}

}  // namespace

KernelCaptureTable::KernelCaptureTable(int services, int prefixes, int totals)
    : services_(services), prefixes_(prefixes), totals_(totals) {
  load();
}

void KernelCaptureTable::load() {
  const auto remember = [this](const Target& target, const np_svc& value) {
    Entry entry;
    entry.service_id = value.svc_id;
    entry.is_draining = value.action == NP_ACTION_DRAIN;
    entry.draining_since = monotonic_now();
    entries_[target] = entry;
  };
  services_.for_each([&remember](const np_svc_key& key, const np_svc& value) {
    Target target;
    std::memcpy(target.ip.data(), key.ip, sizeof(key.ip));
    target.port = key.port;
    remember(target, value);
    return true;
  });
  prefixes_.for_each([&remember](const np_cidr_key& key, const np_svc& value) {
    Target target;
    target.is_prefix = true;
    target.length = static_cast<uint8_t>(key.prefixlen - 16);
    std::memcpy(target.ip.data(), key.ip, sizeof(key.ip));
    target.port = ntohs(key.port_be);
    remember(target, value);
    return true;
  });
}

namespace {

np_svc_key service_key(const std::array<uint8_t, 16>& ip, uint16_t port) {
  np_svc_key key{};
  std::memcpy(key.ip, ip.data(), sizeof(key.ip));
  key.port = port;
  key.proto = IPPROTO_TCP;
  return key;
}

np_cidr_key prefix_key(const std::array<uint8_t, 16>& ip, uint8_t length, uint16_t port) {
  np_cidr_key key{};
  key.prefixlen = 16U + length;
  key.port_be = htons(port);
  std::memcpy(key.ip, ip.data(), sizeof(key.ip));
  return key;
}

}  // namespace

int KernelCaptureTable::write(const Target& target, const np_svc& value) {
  if (!target.is_prefix) return services_.put(service_key(target.ip, target.port), value);
  return prefixes_.put(prefix_key(target.ip, target.length, target.port), value);
}

int KernelCaptureTable::erase(const Target& target) {
  if (!target.is_prefix) return services_.erase(service_key(target.ip, target.port));
  return prefixes_.erase(prefix_key(target.ip, target.length, target.port));
}

bool KernelCaptureTable::read(const Target& target, np_svc* value) const {
  if (!target.is_prefix) return services_.lookup(service_key(target.ip, target.port), value);
  return prefixes_.lookup(prefix_key(target.ip, target.length, target.port), value);
}

Result<void> KernelCaptureTable::add_one(const Target& target, uint32_t service_id, uint8_t fail,
                                         const std::string& name, uint64_t generation,
                                         std::vector<Target>* added) {
  np_svcst totals{};
  put_name(totals.name, name);
  totals_.add(service_id, totals);  // kept when it is there; missing totals stop nothing
  np_svc value{};
  value.svc_id = service_id;
  value.action = NP_ACTION_CAPTURE;
  value.fail = fail;
  value.gen = generation;
  put_name(value.name, name);
  const int failed = write(target, value);
  if (failed != 0) {
    const bool is_full = failed == E2BIG || failed == ENOSPC;
    Error error = system_error(failed, "capture " + name);
    if (is_full) {
      error.code = ErrorCode::kExhausted;
      error.detail = target.is_prefix ? "np_cidr holds " + std::to_string(NP_CIDR_MAX)
                                      : "np_svc holds " + std::to_string(NP_SVC_MAX);
      error.detail += " entries";
    }
    return error;
  }
  if (entries_.find(target) == entries_.end()) added->push_back(target);
  entries_[target] = Entry{service_id, false, Instant{}, true};
  return ok();
}

Result<void> KernelCaptureTable::add(const policy::Snapshot& snapshot) {
  std::vector<Target> added;
  Result<void> result = ok();
  for (const policy::CaptureEntry& entry : snapshot.capture_entries) {
    const Target target{false, 128, entry.address.ip.bytes, entry.address.port};
    if (!result) break;
    result = add_one(target, entry.service_id, to_fail(entry.fail_mode), entry.service_name,
                     snapshot.generation, &added);
  }
  for (const policy::CapturePrefix& prefix : snapshot.capture_prefixes) {
    const Target target{true, prefix.prefix.length, prefix.prefix.ip.bytes, prefix.port};
    if (!result) break;
    result = add_one(target, prefix.service_id, to_fail(prefix.fail_mode), prefix.service_name,
                     snapshot.generation, &added);
  }
  if (result) return result;
  for (const Target& target : added) {
    erase(target);
    entries_.erase(target);
  }
  return result;
}

bool KernelCaptureTable::has_open_flows(uint32_t service_id) const {
  np_svcst totals{};
  return totals_.lookup(service_id, &totals) && totals.opened > totals.closed;
}

Result<void> KernelCaptureTable::retire(const policy::Snapshot& snapshot) {
  for (auto& [target, entry] : entries_) entry.is_wanted = false;
  const auto want = [this](const Target& target) {
    const auto found = entries_.find(target);
    if (found != entries_.end()) found->second.is_wanted = true;
  };
  for (const policy::CaptureEntry& entry : snapshot.capture_entries) {
    want(Target{false, 128, entry.address.ip.bytes, entry.address.port});
  }
  for (const policy::CapturePrefix& prefix : snapshot.capture_prefixes) {
    want(Target{true, prefix.prefix.length, prefix.prefix.ip.bytes, prefix.port});
  }
  const Instant now = monotonic_now();
  for (auto next = entries_.begin(); next != entries_.end();) {
    auto& [target, entry] = *next;
    const bool is_over = entry.is_draining && now - entry.draining_since >= kDrainAtLeast &&
                         !has_open_flows(entry.service_id);
    if (!entry.is_wanted && is_over) {
      erase(target);
      next = entries_.erase(next);
      continue;
    }
    np_svc value{};
    if (!entry.is_wanted && !entry.is_draining && read(target, &value)) {
      value.action = NP_ACTION_DRAIN;
      const int failed = write(target, value);
      if (failed != 0) return system_error(failed, "stop capturing " + std::string(value.name));
      entry.is_draining = true;
      entry.draining_since = now;
    }
    ++next;
  }
  return ok();
}

}  // namespace np::kernel
