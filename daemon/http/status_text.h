// SPDX-License-Identifier: Apache-2.0
// The reason phrases of RFC 9110 and its registry. Pure; any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace np::http {

// Empty for a status without a registered phrase.
std::string_view status_text(uint16_t status);

}  // namespace np::http
