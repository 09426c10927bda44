// SPDX-License-Identifier: Apache-2.0
// Controller: the one place where policy changes. A change is planned on the store, loaded and
// compiled, put on the data path, written to the state file, and only then answered; when a step
// fails everything is as it was. Owns store, pod registrations, id table and the snapshot in
// effect. Lives on the control thread, called by the verbs of the control socket.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/data_path.h"
#include "control/guard_book.h"
#include "control/object_store.h"
#include "control/pod_registry.h"
#include "control/state_codec.h"
#include "control/state_file.h"
#include "control/status_board.h"
#include "policy/compile.h"
#include "policy/object.h"

namespace np::control {

// Who asked, as the kernel says (SO_PEERCRED).
struct Peer {
  uint32_t uid = 0;
  int32_t pid = 0;
  bool may_write = false;
};

// What a change came to. `errors` or an error in `diagnostics`: refused, nothing changed.
struct ChangeAnswer {
  std::vector<Change> changes;
  std::vector<std::string> errors;
  policy::Diagnostics diagnostics;    // of the given text only when refused
  std::vector<std::string> warnings;  // news that this change brings
  bool is_refused() const { return !errors.empty() || policy::has_errors(diagnostics); }
};

class Controller {
 public:
  // `state` may be null: nothing outlives the process then (an embedded run without --state-dir).
  Controller(const Seams& seams, StateFile* state);

  // Reads the state file, publishes the first snapshot, attaches the registered pods. A stored
  // object that this version refuses is left out and says so in its status.
  Result<void> start();

  ChangeAnswer change(Verb verb, std::vector<policy::Object> objects, const PlanOptions& options,
                      const Peer& peer);
  ChangeAnswer add_pod(const PodRegistration& pod, const Peer& peer);
  ChangeAnswer remove_pod(const std::string& ns, const std::string& name, const Peer& peer);
  Result<void> detach_all(const Peer& peer);

  // New answers of the resolver: compiles the same model again.
  Result<void> set_dns(policy::DnsAnswers answers);

  // Every service with all its endpoints, as if no rule narrowed them: for people who look.
  std::shared_ptr<const policy::Snapshot> compile_registry() const;

  // A policy in force has `acceleration: sockmap`.
  bool asks_acceleration() const;

  GuardBook& guard() { return guard_; }
  const ObjectStore& store() const { return store_; }
  const StatusBoard& statuses() const { return statuses_; }
  const PodRegistry& pods() const { return pods_; }
  const policy::Model& model() const { return model_; }
  const policy::Diagnostics& diagnostics() const { return diagnostics_; }
  const policy::Snapshot& snapshot() const { return *data_path_.current(); }
  const DataPath::SnapshotPointer& snapshot_pointer() const { return data_path_.current(); }
  const std::string& listener_problem() const { return data_path_.listener_problem(); }

 private:
  // Everything that follows from a set of objects, before it is in effect.
  struct Candidate {
    policy::Model model;
    policy::Diagnostics diagnostics;
    std::shared_ptr<const policy::Snapshot> snapshot;
    StatusBoard::Held held;
  };
  policy::Model load(const std::vector<policy::Object>& objects, const StatusBoard::Held& held,
                     policy::Diagnostics& diagnostics) const;
  std::shared_ptr<const policy::Snapshot> compile(const policy::Model& model);
  Candidate load_what_loads(const std::vector<policy::Object>& objects);
  void restore(SavedState saved);

  // What `pod add` found under the pod's name.
  struct PodBefore {
    std::optional<PodRegistration> registration;
    std::optional<policy::Object> object;
  };
  void undo_add_pod(const PodRegistration& pod, const PodBefore& before, const Peer& peer,
                    ChangeAnswer& failed);
  ChangeAnswer commit(Plan plan, const std::vector<PodRegistration>& pods, const Peer& peer);
  std::optional<Error> put_in_effect(const Plan& plan, Candidate& candidate,
                                     const std::vector<PodRegistration>& pods);
  Result<void> save(const std::vector<policy::Object>& objects, uint64_t next_sequence,
                    const std::vector<PodRegistration>& pods, uint64_t generation);
  void tell_policies() const;
  void test_acceleration();
  void log_changes(const std::vector<Change>& changes, const Peer& peer) const;

  StateFile* state_;
  PolicyWatcher* watcher_;          // may be null
  AccelerationHost* acceleration_;  // may be null
  DataPath data_path_;
  PodRegistry pods_;
  GuardBook guard_;
  ObjectStore store_;
  policy::IdTable ids_;
  policy::Model model_;
  policy::Diagnostics diagnostics_;  // of loading model_
  StatusBoard statuses_;
  StatusBoard::Held held_;  // stored objects that this version refuses
  policy::DnsAnswers dns_;
  uint64_t generation_ = 0;
};

}  // namespace np::control
