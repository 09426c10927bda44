// SPDX-License-Identifier: Apache-2.0
// A YAML document as a plain tree with the line of every key and value. Built by parse_yaml() from
// yaml-cpp's events, within limits that hold for hostile input; yaml-cpp itself stays in the .cc.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace np::policy {

struct YamlNode {
  enum class Kind : uint8_t { kNull, kScalar, kSequence, kMap };
  Kind kind = Kind::kNull;
  bool quoted = false;  // scalar in quotes or a block scalar: always a string
  bool flow = false;    // sequence or map written as [...] or {...}
  int line = 0;         // 1-based, in the text that was parsed
  int key_line = 0;     // line of `key`; 0 for items of a sequence
  std::string key;      // when this node is an entry of a map
  std::string scalar;
  std::vector<YamlNode> children;  // items of a sequence, entries of a map in written order

  const YamlNode* find(std::string_view name) const;
  // Equal in content: lines and style do not count.
  bool same_as(const YamlNode& other) const;
};

// What a plain scalar is under YAML 1.1, which is how Kubernetes reads manifests.
enum class ScalarType : uint8_t { kString, kBoolean, kInteger, kFloat };
ScalarType scalar_type(const YamlNode& node);

struct YamlError {
  int line = 0;
  std::string message;
};

struct YamlLimits {
  size_t max_depth = 64;
  size_t max_nodes = 1'000'000;  // aliases count as what they stand for
};

// Parses exactly one document. An empty document gives a null node.
std::optional<YamlError> parse_yaml(std::string_view text, const YamlLimits& limits,
                                    YamlNode& root);

// The tree as YAML text that parses to the same tree, every key on the same line counted from the
// node's own.
std::string emit_yaml(const YamlNode& node);

}  // namespace np::policy
