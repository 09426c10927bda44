// SPDX-License-Identifier: Apache-2.0
// What `nodectl top` computes: how much the counters of the daemon's answers have grown, summed as
// its tables need them. Pure. Names are kept as they came; whoever shows them makes them harmless.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

namespace np::nodectl {

// 0, "" and an empty list where there is none.
uint64_t count_in(const nlohmann::json& row, const char* name);
std::string text_in(const nlohmann::json& row, const char* name);
const nlohmann::json& list_in(const nlohmann::json& answer, const char* name);

// Never below 0: no count goes back, but a daemon that was started anew counts from 0.
double difference(uint64_t after, uint64_t before);

// Growth between the two answers.
struct RequestSums {
  double requests = 0, client_errors = 0, failures = 0, delays = 0, aborts = 0, retries = 0;
  double refused = 0;  // by a limit
  std::vector<uint64_t> buckets;
};
using PairOfNames = std::pair<std::string, std::string>;

// Of HTTP requests, by the key that `key_of` gives each kind of request.
std::map<PairOfNames, RequestSums> request_sums(
    const nlohmann::json& before, const nlohmann::json& after,
    const std::function<PairOfNames(const nlohmann::json&)>& key_of);

// How many endpoints are ejected now, by host and version.
std::map<PairOfNames, double> ejected_endpoints(const nlohmann::json& answer);

// The value under which `share` (0 to 1) of a histogram lies, in milliseconds; negative: nothing
// was counted; above the last bound: infinity.
double quantile_ms(const std::vector<double>& bounds, const std::vector<uint64_t>& counts,
                   double share);

}  // namespace np::nodectl
