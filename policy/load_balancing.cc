// SPDX-License-Identifier: Apache-2.0
// trafficPolicy.loadBalancer of a DestinationRule (traffic-semantics 2.2).
#include "policy/traffic_policy_reader.h"

namespace np::policy {
namespace {

constexpr int64_t kMaxMaglevSize = 5'000'011;
constexpr int64_t kMaxRingSize = 8'388'608;

bool is_prime(int64_t number) {
  if (number < 2) return false;
  for (int64_t divisor = 2; divisor * divisor <= number; ++divisor) {
    if (number % divisor == 0) return false;
  }
  return true;
}

void read_cookie(const Value& value, LoadBalancing& balancing) {
  Fields fields(value);
  Value name = fields.require("name");
  balancing.hash_on = LoadBalancing::HashOn::kCookie;
  balancing.hash_name = name.non_empty_string().value_or("");
  if (!balancing.hash_name.empty() && !is_header_name(balancing.hash_name)) {
    name.error("not a legal cookie name", shown(balancing.hash_name));
  }
  Value path = fields.get("path");
  balancing.cookie_path = path.string().value_or("");
  if (balancing.cookie_path.find_first_of(";\r\n") != std::string::npos) {
    path.error("not a legal cookie path", shown(balancing.cookie_path));
  }
  balancing.cookie_ttl = read_duration(fields.get("ttl"), ZeroDuration::kAllowed);
}

void read_consistent_hash(const Value& value, LoadBalancing& balancing) {
  Fields fields(value);
  balancing.kind = LoadBalancing::Kind::kRingHash;
  int set =
      fields.at_most_one({"httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"});
  Value header = fields.get("httpHeaderName");
  Value cookie = fields.get("httpCookie");
  Value source_ip = fields.get("useSourceIp");
  Value parameter = fields.get("httpQueryParameterName");
  if (set == 0 && value.is_map()) {
    value.error("what to hash is required", "",
                "httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName");
  }
  if (auto name = header.non_empty_string()) {
    balancing.hash_on = LoadBalancing::HashOn::kHeader;
    balancing.hash_name = lower_case(*name);
    if (!is_header_name(*name)) header.error("not a legal header name", shown(*name));
  }
  if (cookie.present()) read_cookie(cookie, balancing);
  if (auto on = source_ip.boolean()) {
    if (*on) balancing.hash_on = LoadBalancing::HashOn::kSourceIp;
    if (!*on) source_ip.error("false says nothing about what to hash", "false", "true");
  }
  if (auto name = parameter.non_empty_string()) {
    balancing.hash_on = LoadBalancing::HashOn::kQueryParam;
    balancing.hash_name = *name;
  }
  fields.at_most_one({"ringHash", "maglev"});
  Value old_size = fields.get("minimumRingSize");  // deprecated place
  if (auto size = old_size.integer(0, kMaxRingSize)) {
    balancing.minimum_ring_size = static_cast<uint64_t>(*size);
  }
  Value ring = fields.get("ringHash");
  if (ring.written()) {
    Fields inner(ring);
    auto size = inner.get("minimumRingSize").integer(0, kMaxRingSize);
    if (size) balancing.minimum_ring_size = static_cast<uint64_t>(*size);
  }
  Value maglev = fields.get("maglev");
  if (maglev.written()) {
    balancing.kind = LoadBalancing::Kind::kMaglev;
    Fields inner(maglev);
    Value table = inner.get("tableSize");
    auto size = table.integer(2, kMaxMaglevSize);
    if (size && !is_prime(*size)) {
      table.error("must be a prime number", table.found(), "for example 65537");
    }
    if (size) balancing.maglev_table_size = static_cast<uint64_t>(*size);
  }
}

void read_warmup(const Value& value, LoadBalancing& balancing) {
  if (!value.present()) return;
  Fields fields(value);
  balancing.warmup =
      read_duration(fields.require("duration"), ZeroDuration::kRefused).value_or(Duration{});
  auto percent = fields.get("minimumPercent").number(0, 100);
  if (percent) balancing.warmup_minimum_percent = static_cast<uint32_t>(*percent);
  balancing.warmup_aggression = fields.get("aggression").number(1, 1000).value_or(1.0);
}

}  // namespace

std::optional<LoadBalancing> read_load_balancing(const Value& value) {
  if (!value.present()) return std::nullopt;
  Fields fields(value);
  LoadBalancing balancing;
  balancing.kind = LoadBalancing::Kind::kLeastRequest;
  fields.at_most_one({"simple", "consistentHash"});
  auto simple = fields.get("simple").choice(
      {"UNSPECIFIED", "LEAST_CONN", "LEAST_REQUEST", "RANDOM", "ROUND_ROBIN", "PASSTHROUGH"});
  if (simple == 3) balancing.kind = LoadBalancing::Kind::kRandom;
  if (simple == 4) balancing.kind = LoadBalancing::Kind::kRoundRobin;
  if (simple == 5) balancing.kind = LoadBalancing::Kind::kPassthrough;
  Value hash = fields.get("consistentHash");
  if (hash.present()) read_consistent_hash(hash, balancing);
  fields.at_most_one({"warmup", "warmupDurationSecs"});
  read_warmup(fields.get("warmup"), balancing);
  Value old_warmup = fields.get("warmupDurationSecs");
  if (auto window = read_duration(old_warmup, ZeroDuration::kRefused)) balancing.warmup = *window;
  Value locality = fields.get("localityLbSetting");
  if (locality.present()) {
    Fields inner(locality);
    Value enabled = inner.get("enabled");
    inner.skip({"distribute", "failover", "failoverPriority"});
    if (enabled.boolean().value_or(true)) {
      locality.error("balancing by locality is not supported: one node is one locality", "",
                     "enabled: false");
    }
  }
  return balancing;
}

}  // namespace np::policy
