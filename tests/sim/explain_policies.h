// SPDX-License-Identifier: Apache-2.0
// Policies and requests made up from a seed, from a small alphabet so that they meet often: the old
// API, today's, both at once, TrafficPolicies, denials, a gateway, hosts known by Host only.
#pragma once

#include <string>
#include <vector>

#include "base/random.h"
#include "policy/explain_question.h"

namespace np::sim {

class PolicyMaker {
 public:
  explicit PolicyMaker(uint64_t seed) : dice_(seed) {}

  // YAML of a whole world: registry and policies.
  std::string world();
  policy::QuestionText question();

 private:
  bool one_in(uint32_t n) { return dice_.below(n) == 0; }
  std::string pick(const std::vector<std::string>& words) {
    return words[dice_.below(static_cast<uint32_t>(words.size()))];
  }
  std::string text_match();
  std::string path_match();
  std::string headers_match();
  std::string percent();
  // today's API
  std::string virtual_service(const std::string& name, const std::string& hosts,
                              const std::string& gateways, const std::string& destination);
  std::string http_rule(const std::string& destination);
  std::string http_match();
  std::string http_action(const std::string& destination);
  std::string http_extras();
  std::string destination_rule(const std::string& host);
  // the old one
  std::string route_rule(const std::string& host, uint32_t number);
  std::string old_match();
  std::string destination_policy(const std::string& host, uint32_t number);
  // nodeproxy.dev, Mixer
  std::string traffic_policy(const std::string& host);
  std::string denial();

  Rng dice_;
};

}  // namespace np::sim
