// SPDX-License-Identifier: Apache-2.0
#include "top_sums.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

constexpr std::array kRequestNames = {"source",   "source_namespace", "source_version", "host",
                                      "workload", "version",          "route",          "object",
                                      "flags",    "protocol"};
using Identity =
    std::pair<std::array<std::string, kRequestNames.size()>, uint64_t>;  // and the status

Identity identity_of(const Json& request) {
  Identity identity;
  for (size_t i = 0; i < kRequestNames.size(); ++i)
    identity.first[i] = text_in(request, kRequestNames[i]);
  identity.second = count_in(request, "status");
  return identity;
}

struct Counts {
  const Json* first = nullptr;
  uint64_t requests = 0, delays = 0, aborts = 0, retries = 0;
  std::vector<uint64_t> buckets;

  uint64_t bucket(size_t i) const { return i < buckets.size() ? buckets[i] : 0; }
};

// Names that were no UTF-8 may have become the same: their rows are one.
std::map<Identity, Counts> counts_of(const Json& answer) {
  std::map<Identity, Counts> all;
  for (const Json& request : list_in(answer, "requests")) {
    if (text_in(request, "protocol") == "tcp") continue;
    Counts& counts = all[identity_of(request)];
    if (counts.first == nullptr) counts.first = &request;
    counts.requests += count_in(request, "requests");
    counts.delays += count_in(request, "delays");
    counts.aborts += count_in(request, "aborts");
    counts.retries += count_in(request, "retries");
    const Json& buckets = list_in(request, "buckets");
    counts.buckets.resize(std::max(counts.buckets.size(), buckets.size()));
    for (size_t i = 0; i < buckets.size(); ++i) {
      if (buckets[i].is_number_unsigned()) counts.buckets[i] += buckets[i].get<uint64_t>();
    }
  }
  return all;
}

// `flags` is a list: "DI,UO".
bool has_flag(std::string_view flags, std::string_view wanted) {
  while (!flags.empty()) {
    const size_t comma = std::min(flags.find(','), flags.size());
    if (flags.substr(0, comma) == wanted) return true;
    flags.remove_prefix(std::min(comma + 1, flags.size()));
  }
  return false;
}

void add_growth(const Counts& now, const Counts& before, RequestSums& sums) {
  constexpr uint64_t kClientError = 400;
  constexpr uint64_t kServerError = 500;
  const double requests = difference(now.requests, before.requests);
  const uint64_t status = count_in(*now.first, "status");
  const std::string flags = text_in(*now.first, "flags");
  sums.requests += requests;
  // No status: the client got no whole answer.
  if (status >= kServerError || status == 0) sums.failures += requests;
  if (status >= kClientError && status < kServerError) sums.client_errors += requests;
  const bool is_refused = has_flag(flags, "UO") || has_flag(flags, "RL") || has_flag(flags, "OM");
  if (is_refused) sums.refused += requests;
  sums.delays += difference(now.delays, before.delays);
  sums.aborts += difference(now.aborts, before.aborts);
  sums.retries += difference(now.retries, before.retries);
  sums.buckets.resize(std::max(sums.buckets.size(), now.buckets.size()));
  for (size_t i = 0; i < now.buckets.size(); ++i) {
    sums.buckets[i] += static_cast<uint64_t>(difference(now.buckets[i], before.bucket(i)));
  }
}

}  // namespace

uint64_t count_in(const Json& row, const char* name) {
  const auto found = row.find(name);
  return found != row.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

std::string text_in(const Json& row, const char* name) {
  const auto found = row.find(name);
  return found != row.end() && found->is_string() ? found->get<std::string>() : "";
}

const Json& list_in(const Json& answer, const char* name) {
  static const Json nothing = Json::array();
  const auto found = answer.find(name);
  return found != answer.end() && found->is_array() ? *found : nothing;
}

double difference(uint64_t after, uint64_t before) {
  return after > before ? static_cast<double>(after - before) : 0;
}

std::map<PairOfNames, RequestSums> request_sums(
    const Json& before, const Json& after, const std::function<PairOfNames(const Json&)>& key_of) {
  const std::map<Identity, Counts> earlier = counts_of(before);
  const Counts nothing;
  std::map<PairOfNames, RequestSums> sums;
  for (const auto& [identity, counts] : counts_of(after)) {
    const auto known = earlier.find(identity);
    add_growth(counts, known != earlier.end() ? known->second : nothing,
               sums[key_of(*counts.first)]);
  }
  return sums;
}

std::map<PairOfNames, double> ejected_endpoints(const Json& answer) {
  std::map<PairOfNames, std::set<std::string>> addresses;
  for (const Json& endpoint : list_in(answer, "endpoints")) {
    if (text_in(endpoint, "state") != "ejected") continue;
    const std::string service = text_in(endpoint, "service");
    const std::string host = service.substr(0, service.rfind(':'));
    addresses[{host, text_in(endpoint, "version")}].insert(text_in(endpoint, "address"));
  }
  std::map<PairOfNames, double> ejected;
  for (const auto& [key, list] : addresses) ejected[key] = static_cast<double>(list.size());
  return ejected;
}

double quantile_ms(const std::vector<double>& bounds, const std::vector<uint64_t>& counts,
                   double share) {
  double all = 0;
  for (const uint64_t count : counts) all += static_cast<double>(count);
  if (all <= 0) return -1;
  const double wanted = share * all;
  double below = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const auto count = static_cast<double>(counts[i]);
    if (count == 0 || below + count < wanted) {
      below += count;
      continue;
    }
    if (i >= bounds.size()) break;
    const double from = i == 0 ? 0 : bounds[i - 1];
    return from + (bounds[i] - from) * (wanted - below) / count;
  }
  return std::numeric_limits<double>::infinity();
}

}  // namespace np::nodectl
