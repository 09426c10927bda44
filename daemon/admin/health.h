// SPDX-License-Identifier: Apache-2.0
// HealthSource: what probes ask. Asked from the threads of the admin and probe servers: answers
// must be safe to compute there, and at once.
#pragma once

#include <string>

namespace np::admin {

class HealthSource {
 public:
  virtual ~HealthSource() = default;
  // Empty when well, else the reason: a failing liveness probe restarts the worker (R43).
  virtual std::string liveness_problem() = 0;
  // Empty when new connections are served, else the reason.
  virtual std::string readiness_problem() = 0;
};

}  // namespace np::admin
