// SPDX-License-Identifier: Apache-2.0
// Objects as the user wrote them, and loading them into a Model. Used by the worker's control
// thread and by offline `nodectl`. No file access here: callers hand in text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "policy/model.h"

namespace np::policy {

struct ObjectId {
  std::string group;  // API group: "config.istio.io", "" for core Kubernetes
  std::string kind;
  std::string ns;  // empty for cluster-scoped kinds (Namespace)
  std::string name;
  auto operator<=>(const ObjectId&) const = default;
  std::string to_string() const;  // "RouteRule istio-system/reviews-default"
};

// One YAML document. `text` is the document as it was given (without indentation common to the
// whole document), from which it can be loaded again; comments survive.
struct Object {
  ObjectId id;
  std::string api_version;  // as written, e.g. "config.istio.io/v1alpha2"
  std::string text;
  std::string file;         // where it came from; for messages
  int line = 0;             // first line of the document in that file
  uint64_t sequence = 0;    // order of first acceptance (kept by a replace)
  uint64_t generation = 0;  // 1 for a new object, +1 for each change
  uint64_t created_unix_ns = 0;
  uint64_t changed_unix_ns = 0;  // when this text was accepted
};

// One complaint about one place. Printed as
//   FILE:LINE: KIND ns/name: FIELD: MESSAGE: found FOUND; allowed: ALLOWED
struct Diagnostic {
  enum class Level : uint8_t { kError, kWarning, kNotInEffect };
  Level level = Level::kError;
  std::string file;
  int line = 0;
  std::string object;  // "RouteRule istio-system/reviews-default"
  std::string field;   // "spec.route[0].weight"
  std::string message;
  std::string found;    // may be empty
  std::string allowed;  // may be empty
  Topic topic = Topic::kOther;
  std::string to_string() const;
};
using Diagnostics = std::vector<Diagnostic>;
bool has_errors(const Diagnostics& diagnostics);

struct ParseOptions {
  std::string file;  // name for messages
  std::string default_namespace = "default";
};

// Splits a YAML stream into objects: checks syntax, size and depth limits, envelope (apiVersion,
// kind, metadata) and kind; knows every kind of design.md section 5. Empty documents are skipped; a
// `List` is opened. On any error the returned vector is empty and `diagnostics` says why.
std::vector<Object> parse_objects(std::string_view yaml, const ParseOptions& options,
                                  Diagnostics& diagnostics);

// Reads one object into `model`: every field is checked; unknown fields are errors. An object whose
// effect belongs to a later version is left out of the model and reported as kNotInEffect.
void load_object(const Object& object, Model& model, Diagnostics& diagnostics);

// Loads a whole set, then checks what spans objects (duplicate hosts, missing subsets as
// warnings...).
Model load_model(const std::vector<Object>& objects, Diagnostics& diagnostics);

// Every kind that `get`, `delete` and completion accept: canonical name, group, plural, short name.
struct KindInfo {
  std::string_view group, kind, plural, short_name;
  bool namespaced;
};
const std::vector<KindInfo>& known_kinds();
// Finds by kind, plural or short name, any case; null when unknown or ambiguous without a group.
const KindInfo* find_kind(std::string_view text);

}  // namespace np::policy
