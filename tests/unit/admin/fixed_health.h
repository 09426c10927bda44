// SPDX-License-Identifier: Apache-2.0
// FixedHealth: the health that a test says.
#pragma once

#include <string>

#include "admin/health.h"

namespace np::admin {

class FixedHealth final : public HealthSource {
 public:
  std::string liveness_problem() override { return live; }
  std::string readiness_problem() override { return ready; }
  std::string live, ready;
};

}  // namespace np::admin
