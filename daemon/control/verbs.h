// SPDX-License-Identifier: Apache-2.0
// Verbs: one request of the control socket in, one answer out, both JSON text (wire.h). Checks
// every argument, asks the Controller, and never fails on bytes: what it cannot read is answered
// with an error. Borrows the controller and the seams. Control thread only.
//
//   apply create replace diff   {files: [{name, text}], namespace}
//   delete                      the same, or {kind, names, namespace}; ignore_not_found
//   get                         {kind, names, namespace, all_namespaces}
//   pod-add pod-remove pod-list {name, namespace, ips, ifname, labels}
//   endpoints {service, namespace}   status   doctor   drain   detach
//   flows-reset                 {window_ms}
//   explain                     {from, to, namespace, method, path, headers}
//   guard-*                     guard_verbs.h
//   overview   connections   traces {service, errors, min_duration_us, limit}   trace {id}
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "control/controller.h"
#include "control/seams.h"

namespace np::control {

// What `nodectl status` says about the process.
struct DaemonInfo {
  std::string version;
  std::string instance;
  uint32_t shards = 0;
  Instant started;
};

class Verbs {
 public:
  Verbs(Controller& controller, const Seams& seams, DaemonInfo info)
      : controller_(controller), seams_(seams), info_(std::move(info)) {}

  std::string handle(std::string_view request, const Peer& peer);

 private:
  Controller& controller_;
  Seams seams_;
  DaemonInfo info_;
};

}  // namespace np::control
