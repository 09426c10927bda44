// SPDX-License-Identifier: Apache-2.0
#include "base/result.h"

#include <cstring>

namespace np {

std::string Error::to_string() const {
  std::string text = what;
  if (!detail.empty()) text += (text.empty() ? "" : ": ") + detail;
  if (!hint.empty()) text += " (" + hint + ")";
  return text;
}

Error system_error(int errno_value, std::string what, std::string hint) {
  return Error{ErrorCode::kSystem, std::move(what), std::strerror(errno_value), std::move(hint)};
}

}  // namespace np
