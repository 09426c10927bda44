// SPDX-License-Identifier: Apache-2.0
// What the worker tells about its work: the composition of metrics/ with the options and with the
// memory that the supervisor keeps. Made by run_worker.
#pragma once

#include <memory>

#include "base/result.h"
#include "control/seams.h"
#include "kernel/worker_link.h"
#include "metrics/telemetry.h"
#include "node_board.h"
#include "options.h"

namespace np {

// Opens the access log, so before the sandbox. `link` outlives it.
Result<std::unique_ptr<metrics::Telemetry>> make_telemetry(const Options& options,
                                                           kernel::WorkerLink& link);

// `nodectl top`, `traces` and `trace`: what the admin pages get, too. Control thread.
class TelemetryReporter final : public control::Reporter {
 public:
  TelemetryReporter(NodeBoard& node, const metrics::Telemetry& telemetry, kernel::WorkerLink& link)
      : node_(node), telemetry_(telemetry), link_(link) {}
  std::string overview() override;
  std::string traces(const control::TraceFilter& filter) override;
  std::string trace(const std::string& id) override;
  std::string connections() override;

 private:
  NodeBoard& node_;
  const metrics::Telemetry& telemetry_;
  kernel::WorkerLink& link_;
};

}  // namespace np
