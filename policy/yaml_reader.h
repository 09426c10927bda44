// SPDX-License-Identifier: Apache-2.0
// Typed reading of a YAML tree. A Value is one place of an object: reading it as the wrong type
// reports where, what was found and what is allowed. Fields reads a map and, when it goes out of
// scope, reports every key that nobody asked for, so that nothing is ignored in silence.
// Control thread; the tree and the ReadContext outlive all Values.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/time.h"
#include "policy/model.h"
#include "policy/object.h"
#include "policy/yaml_tree.h"

namespace np::policy {

// Whether keys that the reader does not know are errors, and how keys may be spelled.
enum class Strictness : uint8_t {
  kStrict,           // camelCase, unknown keys are errors
  kStrictSnakeToo,   // config.istio.io: camelCase or snake_case, unknown keys are errors
  kTolerateUnknown,  // core Kubernetes kinds, which come from `kubectl get -o yaml`
};

struct ReadContext {
  Diagnostics* diagnostics = nullptr;
  std::string file;
  std::string object;   // "RouteRule default/reviews"; may be empty while it is not known
  int line_offset = 0;  // added to the lines of the tree
  Strictness strictness = Strictness::kStrict;
  int errors = 0;

  void report(Diagnostic::Level level, int line, std::string field, std::string message,
              std::string found = {}, std::string allowed = {});
};

// Text for `found`: at most 80 bytes on one line.
std::string shown(std::string_view text);

class Value {
 public:
  Value() = default;
  Value(ReadContext& context, const YamlNode* node, std::string path, int line)
      : context_(&context), node_(node), path_(std::move(path)), line_(line) {}

  // False for a missing key and for null.
  bool present() const { return node_ != nullptr && node_->kind != YamlNode::Kind::kNull; }
  bool written() const { return node_ != nullptr; }
  const YamlNode* node() const { return node_; }
  const std::string& path() const { return path_; }
  int line() const { return line_; }  // in the user's file
  ReadContext& context() const { return *context_; }

  void error(std::string message, std::string found = {}, std::string allowed = {}) const;
  void warning(std::string message) const;
  void not_in_effect(std::string message) const;
  // What is written here, for `found`.
  std::string found() const;

  // Each returns nothing when the value is absent or wrong; wrong ones are reported.
  std::optional<std::string> string() const;
  std::optional<std::string> non_empty_string() const;
  std::optional<bool> boolean() const;
  std::optional<int64_t> integer(int64_t least, int64_t most) const;
  std::optional<double> number(double least, double most) const;
  // Index into `allowed`, compared exactly.
  std::optional<size_t> choice(std::initializer_list<std::string_view> allowed) const;

  bool is_scalar() const { return present() && node_->kind == YamlNode::Kind::kScalar; }
  bool is_map() const { return present() && node_->kind == YamlNode::Kind::kMap; }
  std::vector<Value> items() const;    // of a sequence
  std::vector<Value> entries() const;  // of a map; key() names each
  const std::string& key() const { return node_->key; }
  std::vector<std::string> strings() const;
  std::vector<std::pair<std::string, std::string>> string_map() const;

  // For a field that is refused wherever it is set.
  void refuse_if_written(std::string message) const;
  void warn_if_written(std::string message) const;

 private:
  ReadContext* context_ = nullptr;
  const YamlNode* node_ = nullptr;
  std::string path_;
  int line_ = 0;
};

class Fields {
 public:
  explicit Fields(const Value& map);
  ~Fields();
  Fields(const Fields&) = delete;
  Fields& operator=(const Fields&) = delete;

  // The value of a key, by its camelCase name. Every legal key must be asked for.
  Value get(std::string_view name);
  // As get(), and an error when it is missing or null.
  Value require(std::string_view name);
  // Keys that are legal here and mean nothing to nodeproxy.
  void skip(std::initializer_list<std::string_view> names);
  // Reports when more than one of these is present; returns how many are.
  int at_most_one(std::initializer_list<std::string_view> names);
  const Value& self() const { return map_; }
  bool empty() const { return map_.node() == nullptr || map_.node()->children.empty(); }

 private:
  const YamlNode* lookup(std::string_view name) const;
  void report_unknown(const YamlNode& child) const;

  Value map_;
  bool is_map_ = false;
  std::vector<std::string_view> asked_;  // names are literals of the loaders
};

std::string lower_case(std::string_view text);  // ASCII only

// "httpReqTimeout" -> "http_req_timeout".
std::string snake_case(std::string_view camel);

}  // namespace np::policy
