// SPDX-License-Identifier: Apache-2.0
#include "policy/model.h"

#include <algorithm>

namespace np::policy {

bool has_labels(const Labels& labels, const Labels& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& pair) {
    const auto found = labels.find(pair.first);
    return found != labels.end() && found->second == pair.second;
  });
}

std::string Origin::to_string() const {
  if (ns.empty()) return kind + " " + name;
  return kind + " " + ns + "/" + name;
}

}  // namespace np::policy
