// SPDX-License-Identifier: Apache-2.0
// PodRegistry: the pods that `nodectl pod add` named on this node, and their attachment to the
// kernel's programs. The pod itself is an ordinary Pod object in the ObjectStore; this keeps what a
// Pod object cannot say (the host end of its veth) and asks the PodAttacher. Control thread only.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/result.h"
#include "control/seams.h"
#include "policy/model.h"
#include "policy/object.h"
#include "policy/snapshot.h"

namespace np::control {

struct PodRegistration {
  std::string ns;
  std::string name;
  std::vector<IpAddress> ips;
  std::string ifname;
  policy::Labels labels;
  bool detached = false;  // by `nodectl detach --all`; stays so until `pod add` names it again
  bool operator==(const PodRegistration&) const = default;
};

// Refuses what is not a pod name, namespace, label or interface name.
Result<void> check_registration(const PodRegistration& registration);

// The Pod object that stands for it. Its text loads like one that a person wrote.
policy::Object pod_object(const PodRegistration& registration);

// One line of `nodectl pod list`.
struct PodReport {
  std::string ns;
  std::string name;
  std::vector<IpAddress> ips;
  std::string ifname;  // empty: not registered with `pod add`
  policy::Labels labels;
  std::string hook;
  uint64_t captured_since_unix_ns = 0;
  std::string status;  // "captured", or why not
  uint32_t id = 0;     // 0: never attached
};

class PodRegistry {
 public:
  // `attacher` may be null: then registrations only name pods (--no-capture).
  explicit PodRegistry(PodAttacher* attacher) : attacher_(attacher) {}

  void restore(std::vector<PodRegistration> pods);
  const PodRegistration* find(const std::string& ns, const std::string& name) const;
  // The registered pod other than `but` that has one of its addresses or its interface.
  const PodRegistration* find_conflict(const PodRegistration& but) const;
  std::vector<PodRegistration> all() const;

  // Only remember and forget; the kernel is asked by attach() and detach().
  void put(PodRegistration pod);
  void erase(const std::string& ns, const std::string& name);

  // Pod ids come from the snapshot in effect.
  Result<void> attach(const PodRegistration& pod, const policy::Snapshot& snapshot);
  Result<void> detach(const PodRegistration& pod);
  // At start-up: every pod that is not detached. Failures are logged and shown by reports().
  void attach_all(const policy::Snapshot& snapshot);
  Result<void> detach_all();

  // Registered pods, then the other pods of the model: none is skipped silently (R12).
  std::vector<PodReport> reports(const policy::Model& model) const;

 private:
  PodReport report(const PodRegistration& pod, const std::vector<PodState>& states) const;

  PodAttacher* attacher_;
  std::map<std::string, PodRegistration> pods_;  // by "ns/name"
  std::map<std::string, std::string> problems_;  // why attach() failed, by "ns/name"
  std::map<std::string, uint32_t> ids_;          // the id given to attach(), by "ns/name"
};

}  // namespace np::control
