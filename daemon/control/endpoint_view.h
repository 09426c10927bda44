// SPDX-License-Identifier: Apache-2.0
// What `nodectl endpoints` and `uneject` see of endpoints: the registry's view with how the shards
// think of each. Pure functions of the control thread.
#pragma once

#include <string>

#include "control/arguments.h"
#include "control/controller.h"
#include "control/seams.h"

namespace np::control {

// One row per endpoint and port; `service` is a name in `ns`, a full host, or empty for all.
// `watch` may be null: nobody is ever ejected then.
Json view_endpoints(const Controller& controller, EndpointWatch* watch, const std::string& service,
                    const std::string& ns);
// `address`: with or without port; without, all ports of the service.
Json uneject_endpoint(const Controller& controller, EndpointWatch* watch,
                      const std::string& service, const std::string& ns,
                      const std::string& address);
// "host:port" of a service id.
std::string service_text(const policy::Snapshot& snapshot, uint32_t service_id);

}  // namespace np::control
