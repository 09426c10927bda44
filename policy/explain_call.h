// SPDX-License-Identifier: Apache-2.0
// ExplainedCall: who calls whom, from the names that a person typed: the pod behind --from and the
// address that a client of it would dial for --to. Pure functions of model and snapshot.
#pragma once

#include <string>
#include <vector>

#include "policy/explain_question.h"
#include "policy/snapshot.h"

namespace np::policy {

struct ExplainedCall {
  enum class Way : uint8_t {
    kCaptured,  // a policy covers `local`
    kGateway,   // `local` is where a Gateway listens
    kDirect,    // neither
  };
  Way way = Way::kDirect;
  const Snapshot::PodEntry* pod = nullptr;  // null: nobody known
  IpAddress peer;                           // the caller's address, unspecified when not known
  SocketAddress local;  // as dialled; the unspecified address where a name has none that is known
  std::string host;     // full name of the service; as typed when there is none
  std::vector<std::string> notes;  // what was assumed or is not known
};

ExplainedCall resolve_call(const ExplainQuestion& question, const Model& model,
                           const Snapshot& snapshot);

}  // namespace np::policy
