// SPDX-License-Identifier: Apache-2.0
#include "policy/object.h"

#include <algorithm>

namespace np::policy {

std::string ObjectId::to_string() const {
  if (ns.empty()) return kind + " " + name;
  return kind + " " + ns + "/" + name;
}

std::string Diagnostic::to_string() const {
  std::string out = file.empty() ? "<stored>" : file;
  out += ":" + std::to_string(line) + ": ";
  if (!object.empty()) out += object + ": ";
  if (!field.empty()) out += field + ": ";
  if (level == Level::kWarning) out += "warning: ";
  if (level == Level::kNotInEffect) out += "accepted, not yet in effect: ";
  out += message;
  if (!found.empty()) out += ": found " + found;
  if (!allowed.empty()) out += (found.empty() ? ": allowed: " : "; allowed: ") + allowed;
  return out;
}

bool has_errors(const Diagnostics& diagnostics) {
  return std::any_of(diagnostics.begin(), diagnostics.end(), [](const Diagnostic& diagnostic) {
    return diagnostic.level == Diagnostic::Level::kError;
  });
}

}  // namespace np::policy
