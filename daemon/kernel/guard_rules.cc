// SPDX-License-Identifier: Apache-2.0
#include "kernel/guard_rules.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <set>

namespace np::kernel {

namespace {

constexpr uint64_t kNsPerS = 1'000'000'000;

using Wanted = std::map<SocketAddress, np_guard_dst>;

np_guard_net net_of(const IpPrefix& prefix) {
  np_guard_net key{};
  key.prefixlen = prefix.length;
  std::memcpy(key.ip, prefix.ip.bytes.data(), sizeof(key.ip));
  return key;
}

IpPrefix prefix_of(const np_guard_net& key) {
  IpPrefix prefix;
  prefix.length = static_cast<uint8_t>(key.prefixlen);
  std::memcpy(prefix.ip.bytes.data(), key.ip, sizeof(key.ip));
  return prefix;
}

np_guard_key key_of(const SocketAddress& address) {
  np_guard_key key{};
  std::memcpy(key.ip, address.ip.bytes.data(), sizeof(key.ip));
  key.port = address.port;
  return key;
}

SocketAddress address_of(const np_guard_key& key) {
  SocketAddress address;
  std::memcpy(address.ip.bytes.data(), key.ip, sizeof(key.ip));
  address.port = key.port;
  return address;
}

// A full bucket. Rounded: at a million per second the rate is exact, between half a million and
// that it is off by 1 in 2 000 at most, below by less.
np_guard_dst bucket_of(const control::GuardLimit& limit) {
  np_guard_dst bucket{};
  bucket.rate = limit.rate;
  bucket.burst = limit.burst;
  bucket.flags = limit.sheds ? NP_GUARD_SHED : 0;
  if (limit.rate == 0) return bucket;
  bucket.interval_ns = (kNsPerS + limit.rate / 2) / limit.rate;
  bucket.slack_ns = bucket.interval_ns * (limit.burst - 1);
  return bucket;
}

bool is_same_limit(const np_guard_dst& a, const np_guard_dst& b) {
  return a.rate == b.rate && a.burst == b.burst && a.flags == b.flags;
}

Error full(int failed, const std::string& what, size_t room) {
  Error error = system_error(failed, what);
  if (failed == ENOSPC || failed == E2BIG) {
    error.code = ErrorCode::kExhausted;
    error.detail = "there is room for " + std::to_string(room) + " entries";
  }
  return error;
}

}  // namespace

Result<void> GuardRules::set_denied(const std::vector<IpPrefix>& prefixes) {
  const std::set<IpPrefix> wanted(prefixes.begin(), prefixes.end());
  std::set<IpPrefix> there;
  denied_.for_each([&there](const np_guard_net& key, const np_guard_rule&) {
    there.insert(prefix_of(key));
    return true;
  });
  for (const IpPrefix& prefix : there) {
    if (wanted.count(prefix) == 0) denied_.erase(net_of(prefix));
  }
  for (const IpPrefix& prefix : wanted) {
    if (there.count(prefix) != 0) continue;
    const int failed = denied_.put(net_of(prefix), np_guard_rule{NP_GUARD_DENY});
    if (failed != 0) return full(failed, "deny " + prefix.to_string(), NP_GUARD_LPM_MAX);
  }
  return ok();
}

Result<void> GuardRules::set_limits(const std::vector<control::GuardLimit>& limits) {
  limits_ = limits;
  return write_destinations();
}

Result<void> GuardRules::set_exposed(const std::vector<SocketAddress>& listeners) {
  exposed_ = listeners;
  return write_destinations();
}

Result<void> GuardRules::write_destinations() {
  Wanted wanted;
  if (limits_) {
    for (const control::GuardLimit& limit : *limits_) {
      wanted.emplace(limit.destination, bucket_of(limit));
    }
  }
  if (exposed_) {
    for (const SocketAddress& address : *exposed_) {
      wanted.emplace(address, bucket_of({address, 0, 0, true}));
    }
  }
  Wanted there;
  destinations_.for_each([&there](const np_guard_key& key, const np_guard_dst& bucket) {
    there.emplace(address_of(key), bucket);
    return true;
  });
  if (limits_ && exposed_) {
    for (const auto& [address, bucket] : there) {
      if (wanted.count(address) == 0) destinations_.erase(key_of(address));
    }
  }
  for (auto& [address, bucket] : wanted) {
    const auto found = there.find(address);
    if (found != there.end()) {
      // Before both are known, an entry may be there by what is not known yet.
      if (is_same_limit(found->second, bucket) || !limits_) continue;
      bucket.passed = found->second.passed;
      bucket.limited = found->second.limited;
      bucket.shed = found->second.shed;
    }
    const int failed = destinations_.put(key_of(address), bucket);
    if (failed != 0) return full(failed, "limit " + address.to_string(), NP_GUARD_DST_MAX);
  }
  return ok();
}

std::vector<control::GuardUse> GuardRules::uses() const {
  std::vector<control::GuardUse> all;
  destinations_.for_each([&all](const np_guard_key& key, const np_guard_dst& bucket) {
    all.push_back(
        {{address_of(key), bucket.rate, bucket.burst, (bucket.flags & NP_GUARD_SHED) != 0},
         bucket.passed,
         bucket.limited,
         bucket.shed});
    return true;
  });
  std::sort(all.begin(), all.end(), [](const control::GuardUse& a, const control::GuardUse& b) {
    return a.limit.destination < b.limit.destination;
  });
  return all;
}

}  // namespace np::kernel
