// SPDX-License-Identifier: Apache-2.0
// StatusBoard: what became of each accepted object, from the diagnostics of loading, the findings
// of compiling, and the model. A value; rebuilt for every snapshot on the control thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "policy/model.h"
#include "policy/object.h"
#include "policy/snapshot.h"

namespace np::control {

struct ObjectStatus {
  enum class State : uint8_t { kInEffect, kNotYetInEffect, kInactive, kRefused };
  State state = State::kInEffect;
  std::string reason;                 // why it is not in effect
  std::string scope;                  // how far it reaches: "per node"; empty: everywhere
  std::vector<std::string> warnings;  // and notes
  std::vector<std::string> hosts;     // what it acts on
};
// "in effect", "not yet in effect", "inactive", "refused"
std::string_view to_text(ObjectStatus::State state);
// The same with how far it reaches: "in effect, per node".
std::string to_text(const ObjectStatus& status);

class StatusBoard {
 public:
  // By "KIND ns/name", the form that Origin, ObjectId and Diagnostic agree on.
  using Held = std::map<std::string, std::string>;  // object -> why it was left out

  StatusBoard() = default;
  StatusBoard(const policy::Model& model, const policy::Diagnostics& diagnostics,
              const policy::Snapshot& snapshot, const Held& held);

  const ObjectStatus& of(const policy::ObjectId& id) const;

  // Warnings on this board that concern `touched`, or that `before` did not have.
  std::vector<std::string> news(const StatusBoard& before,
                                const std::vector<policy::ObjectId>& touched) const;

 private:
  void add_hosts(const policy::Model& model);
  std::map<std::string, ObjectStatus> statuses_;  // only objects with something to say
};

}  // namespace np::control
