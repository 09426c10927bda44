// SPDX-License-Identifier: Apache-2.0
// ObjectStore: the accepted objects, in order of first acceptance. A change is first planned (a
// pure function of the store and the request: all of it or none), tried on the data path, and only
// then committed. Control thread only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/object.h"

namespace np::control {

enum class Verb : uint8_t { kApply, kCreate, kReplace, kDelete };

enum class Outcome : uint8_t { kCreated, kConfigured, kReplaced, kUnchanged, kDeleted };
std::string_view to_text(Outcome outcome);

struct Change {
  policy::ObjectId id;
  Outcome outcome = Outcome::kUnchanged;
};

struct PlanOptions {
  bool ignore_not_found = false;  // for kDelete
  uint64_t now_unix_ns = 0;       // becomes the creation time of new objects
};

// What the store would become. `errors` not empty: the request is refused and nothing else counts.
struct Plan {
  std::vector<Change> changes;  // in the order of the request
  std::vector<policy::Object> objects;
  uint64_t next_sequence = 1;
  std::vector<std::string> errors;
  bool changes_anything() const;
};

class ObjectStore {
 public:
  // apply: create or change. create: refuses what exists. replace: refuses what is missing.
  // delete: needs only the ids; refuses what is missing unless told to ignore that.
  Plan plan(Verb verb, std::vector<policy::Object> given, const PlanOptions& options) const;
  void commit(Plan plan);
  // At start-up: what the state file held.
  void restore(std::vector<policy::Object> objects, uint64_t next_sequence);

  const policy::Object* find(const policy::ObjectId& id) const;
  const std::vector<policy::Object>& objects() const { return objects_; }
  uint64_t next_sequence() const { return next_sequence_; }

 private:
  std::vector<policy::Object> objects_;  // by sequence
  uint64_t next_sequence_ = 1;
};

}  // namespace np::control
