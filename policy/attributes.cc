// SPDX-License-Identifier: Apache-2.0
#include "policy/attributes.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>
#include <vector>

namespace np::policy {

namespace {

constexpr AttributeInfo kInfos[] = {
#define NP_X(enumerator, name, type, known) {name, ValueType::type, known},
    NP_ATTRIBUTES(NP_X)
#undef NP_X
};
constexpr size_t kNearest = 3;
constexpr size_t kComparedBytes = 64;  // of a name, so that a long one costs nothing

// Levenshtein's distance: how many letters must be put in, taken out or changed.
size_t distance(std::string_view a, std::string_view b) {
  std::array<size_t, kComparedBytes + 1> row{};
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string_view name_of(ValueType type) {
  switch (type) {
    case ValueType::kString:
      return "string";
    case ValueType::kInteger:
      return "integer";
    case ValueType::kBoolean:
      return "boolean";
    case ValueType::kDuration:
      return "duration";
    case ValueType::kTime:
      return "timestamp";
    case ValueType::kIp:
      return "IP address";
    case ValueType::kMap:
      return "map of strings";
  }
  return "";
}

const AttributeInfo& info_of(Attribute attribute) {
  return kInfos[static_cast<size_t>(attribute)];
}

std::optional<Attribute> find_attribute(std::string_view name) {
  const auto* found = std::find_if(std::begin(kInfos), std::end(kInfos),
                                   [&](const AttributeInfo& info) { return info.name == name; });
  if (found == std::end(kInfos)) return std::nullopt;
  return static_cast<Attribute>(found - std::begin(kInfos));
}

std::string nearest_attributes(std::string_view name) {
  name = name.substr(0, kComparedBytes);
  std::vector<std::pair<size_t, std::string_view>> ranked;
  for (const AttributeInfo& info : kInfos)
    ranked.emplace_back(distance(name, info.name), info.name);
  std::sort(ranked.begin(), ranked.end());
  std::string out;
  for (size_t i = 0; i < kNearest; ++i) {
    out.append(i == 0 ? "" : ", ").append(ranked[i].second);
  }
  return out;
}

}  // namespace np::policy
