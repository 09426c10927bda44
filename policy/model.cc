// SPDX-License-Identifier: Apache-2.0
#include "policy/model.h"

namespace np::policy {

std::string Origin::to_string() const {
  if (ns.empty()) return kind + " " + name;
  return kind + " " + ns + "/" + name;
}

}  // namespace np::policy
