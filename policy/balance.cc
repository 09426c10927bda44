// SPDX-License-Identifier: Apache-2.0
#include "policy/balance.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "policy/condition.h"
#include "policy/hash.h"

namespace np::policy {

namespace {

uint64_t hash_of(const SocketAddress& address, uint64_t seed) {
  const auto& bytes = address.ip.bytes;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return mix64(hash_bytes(text, seed) + address.port);
}

// Weights, with all-zero read as all-equal: a cluster whose every endpoint has weight 0 would
// otherwise own no hash at all.
std::vector<uint64_t> weights_of(const Cluster& cluster) {
  std::vector<uint64_t> weights;
  uint64_t total = 0;
  for (const Endpoint& endpoint : cluster.endpoints) {
    weights.push_back(endpoint.weight);
    total += endpoint.weight;
  }
  if (total == 0) std::fill(weights.begin(), weights.end(), 1);
  return weights;
}

// The number of places per unit of weight is a power of two: while endpoints come and go it mostly
// stays, and then the places of all others stay too.
void build_ring(Cluster& cluster) {
  const std::vector<uint64_t> weights = weights_of(cluster);
  double total = 0;
  for (const uint64_t weight : weights) total += static_cast<double>(weight);
  const uint64_t wanted =
      std::clamp<uint64_t>(cluster.load_balancing.minimum_ring_size, 1, kLargestRing);
  const double places_per_weight =
      std::exp2(std::ceil(std::log2(static_cast<double>(wanted) / total)));
  for (uint32_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0) continue;
    const double places = std::ceil(static_cast<double>(weights[i]) * places_per_weight);
    const uint64_t seed = hash_of(cluster.endpoints[i].address, 0);
    for (uint64_t place = 0; place < static_cast<uint64_t>(places); ++place) {
      cluster.ring.emplace_back(mix64(seed + place * 0x9e3779b97f4a7c15U), i);
    }
  }
  std::sort(cluster.ring.begin(), cluster.ring.end());
}

bool is_prime(uint64_t number) {
  if (number < 2) return false;
  for (uint64_t divisor = 2; divisor * divisor <= number; ++divisor) {
    if (number % divisor == 0) return false;
  }
  return true;
}

// Maglev (Eisenbud and others, NSDI 2016, 3.4): each endpoint walks its own permutation of the
// table and takes the next free slot; how often its turn comes follows its weight.
void build_maglev(Cluster& cluster) {
  struct Walker {
    uint64_t at = 0, skip = 0;
    double share = 0, credit = 0;
  };
  uint64_t size =
      std::clamp<uint64_t>(cluster.load_balancing.maglev_table_size, 2, kLargestMaglevTable);
  while (!is_prime(size)) ++size;
  const std::vector<uint64_t> weights = weights_of(cluster);
  const double heaviest = static_cast<double>(*std::max_element(weights.begin(), weights.end()));
  std::vector<Walker> walkers;
  for (size_t i = 0; i < weights.size(); ++i) {
    const SocketAddress& address = cluster.endpoints[i].address;
    walkers.push_back({hash_of(address, 1) % size, hash_of(address, 2) % (size - 1) + 1,
                       static_cast<double>(weights[i]) / heaviest, 0});
  }
  cluster.maglev.assign(size, UINT32_MAX);
  uint64_t filled = 0;
  while (filled < size) {
    for (uint32_t i = 0; i < walkers.size() && filled < size; ++i) {
      Walker& walker = walkers[i];
      walker.credit += walker.share;
      if (walker.credit < 1.0) continue;
      walker.credit -= 1.0;
      while (cluster.maglev[walker.at] != UINT32_MAX) walker.at = (walker.at + walker.skip) % size;
      cluster.maglev[walker.at] = i;
      ++filled;
    }
  }
}

// Of a Cookie header value: name=value pairs separated by ";" and blanks.
std::optional<std::string_view> cookie_value(std::string_view cookies, std::string_view name) {
  while (!cookies.empty()) {
    std::string_view item = cookies.substr(0, cookies.find(';'));
    cookies.remove_prefix(std::min(cookies.size(), item.size() + 1));
    item.remove_prefix(std::min(item.size(), item.find_first_not_of(" \t")));
    const size_t equals = item.find('=');
    if (equals != std::string_view::npos && item.substr(0, equals) == name) {
      return item.substr(equals + 1);
    }
  }
  return std::nullopt;
}

std::optional<std::string_view> hashed_value(const LoadBalancing& policy,
                                             const RequestView& request) {
  if (policy.hash_on == LoadBalancing::HashOn::kHeader) {
    return header_value(request, policy.hash_name);
  }
  if (policy.hash_on == LoadBalancing::HashOn::kQueryParam) {
    return query_value(request.query, policy.hash_name);
  }
  if (policy.hash_on == LoadBalancing::HashOn::kCookie) {
    const auto cookies = header_value(request, "cookie");
    if (cookies) return cookie_value(*cookies, policy.hash_name);
  }
  return std::nullopt;
}

}  // namespace

void build_hash_tables(Cluster& cluster) {
  if (cluster.endpoints.empty()) return;
  if (cluster.load_balancing.kind == LoadBalancing::Kind::kRingHash) build_ring(cluster);
  if (cluster.load_balancing.kind == LoadBalancing::Kind::kMaglev) build_maglev(cluster);
}

std::optional<uint64_t> request_hash(const LoadBalancing& policy, const RequestView& request,
                                     const CallerView& caller) {
  if (policy.hash_on == LoadBalancing::HashOn::kSourceIp) return hash_of({caller.ip, 0}, 3);
  const auto value = hashed_value(policy, request);
  if (!value) return std::nullopt;
  return hash_bytes(*value, 3);
}

uint32_t endpoint_for_hash(const Cluster& cluster, uint64_t hash) {
  if (!cluster.maglev.empty()) return cluster.maglev[hash % cluster.maglev.size()];
  NP_CHECK(!cluster.ring.empty());
  const auto found = std::lower_bound(cluster.ring.begin(), cluster.ring.end(),
                                      std::pair<uint64_t, uint32_t>(hash, 0));
  return found == cluster.ring.end() ? cluster.ring.front().second : found->second;
}

}  // namespace np::policy
