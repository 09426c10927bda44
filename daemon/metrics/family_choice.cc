// SPDX-License-Identifier: Apache-2.0
#include "metrics/family_choice.h"

#include <string>

namespace np::metrics {
namespace {

bool* member_of(FamilyChoice& choice, std::string_view name) {
  if (name == "istio") return &choice.istio;
  if (name == "istio-legacy") return &choice.istio_legacy;
  if (name == "envoy") return &choice.envoy;
  if (name == "envoy-statsd") return &choice.envoy_statsd;
  if (name == "nodeproxy") return &choice.nodeproxy;
  return nullptr;
}

}  // namespace

Result<FamilyChoice> FamilyChoice::parse(std::string_view text) {
  FamilyChoice choice{false, false, false, false, false};
  for (bool is_last = false; !is_last;) {
    const size_t comma = text.find(',');
    is_last = comma == std::string_view::npos;
    const std::string_view name = text.substr(0, comma);
    bool* chosen = member_of(choice, name);
    if (chosen == nullptr) {
      return Error{ErrorCode::kInvalid, "choose metric families",
                   "found \"" + std::string(name) + "\"; allowed: some of " + kAllFamilies, ""};
    }
    *chosen = true;
    text.remove_prefix(is_last ? text.size() : comma + 1);
  }
  return choice;
}

}  // namespace np::metrics
