// SPDX-License-Identifier: Apache-2.0
// Field: one header line, as seen by codecs, policy and the engine. Views only; whoever hands out a
// Field says how long the bytes live.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace np {

struct Field {
  std::string_view name;   // as received; compare with equals_ignoring_case
  std::string_view value;  // leading and trailing blanks removed
};
using FieldSpan = std::span<const Field>;

char ascii_lower(char c);
bool equals_ignoring_case(std::string_view a, std::string_view b);

// The first field with that name, or null.
const Field* find_field(FieldSpan fields, std::string_view name);

}  // namespace np
