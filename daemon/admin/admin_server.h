// SPDX-License-Identifier: Apache-2.0
// AdminServer: the worker's HTTP server for people and probes (/livez, /readyz), on CivetWeb's own
// threads. Handlers read published state through HealthSource and never touch a shard's objects.
// Read-only: every method but GET and HEAD gets 405. Owned by the worker's composition in main.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"

namespace np::admin {

// Asked from CivetWeb's threads: answers must be safe to compute there.
class HealthSource {
 public:
  virtual ~HealthSource() = default;
  // Empty when well, else the reason: a failing liveness probe restarts the worker (R43).
  virtual std::string liveness_problem() = 0;
  // Empty when new connections are served, else the reason.
  virtual std::string readiness_problem() = 0;
};

class AdminServer {
 public:
  // Listens on `bind` ("127.0.0.1:15090"); fails when the address cannot be bound. `health` must
  // outlive the server.
  static Result<std::unique_ptr<AdminServer>> start(const std::string& bind, HealthSource& health);
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

 private:
  AdminServer();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace np::admin
