// SPDX-License-Identifier: Apache-2.0
// AdminServer: the worker's HTTP server for people and machines that look: probes, /metrics, the
// dashboard with its JSON, on CivetWeb's own threads. Handlers read published state and never touch
// a shard's objects. Read-only: every method but GET and HEAD gets 405. Owned by the worker's
// composition in main. What tells about pods is told only to who asks by a known name (HostGuard),
// and made for one at a time; the others get 503 and may come again.
//
//   /livez /readyz               probes, for people; ProbeServer answers whoever else asks
//   /metrics /stats/prometheus   Prometheus' text format
//   /                            the dashboard: files that the binary carries
//   /api/overview[?revision=N]   what it shows; without policies while N is still their revision
//   /api/traces[?limit=N&min_duration_ms=N&errors=true&service=NAME]   /api/traces/ID
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "admin/health.h"
#include "base/result.h"
#include "metrics/family_choice.h"
#include "metrics/node_totals.h"
#include "metrics/telemetry.h"

namespace np::admin {

// All outlive the server.
struct AdminSources {
  HealthSource& health;
  metrics::NodeSource& node;
  const metrics::Telemetry& telemetry;
};

struct AdminOptions {
  std::string bind;                     // "127.0.0.1:15090"
  std::vector<std::string> names;       // by which it may be asked, beside addresses and localhost
  metrics::FamilyChoice families = {};  // that /metrics tells
};

class AdminServer {
 public:
  // Listens; fails when the address cannot be bound. Its threads are there and as nice as they will
  // be, and wait: no connection is accepted before open().
  static Result<std::unique_ptr<AdminServer>> start(const AdminOptions& options,
                                                    const AdminSources& sources);
  // When the sandbox has been entered.
  void open();
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

 private:
  struct Impl;
  explicit AdminServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace np::admin
