// SPDX-License-Identifier: Apache-2.0
// kubectl's names for objects, as the daemon answers them and nodectl prints them. Pure functions;
// in a header because nodectl shares nothing else of this room but the protocol.
#pragma once

#include <string>

#include "base/field.h"
#include "policy/object.h"

namespace np::control {

// "routerule.config.istio.io", "service"
inline std::string resource_type(const policy::ObjectId& id) {
  std::string text;
  for (const char c : id.kind) text += ascii_lower(c);
  if (!id.group.empty()) text += "." + id.group;
  return text;
}

// "routerule.config.istio.io/reviews-default", "service/reviews"
inline std::string resource_name(const policy::ObjectId& id) {
  return resource_type(id) + "/" + id.name;
}

}  // namespace np::control
