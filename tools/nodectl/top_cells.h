// SPDX-License-Identifier: Apache-2.0
// How `nodectl top` writes a value into few columns. Pure. Rounding never turns something into
// nothing, nor nearly all into all.
#pragma once

#include <cstdint>
#include <string>

namespace np::nodectl {

// "0", "<0.1", "12.5", "1234", "56k"
std::string rate_text(double value);
// "0" to "99999", then "100k", "12M"
std::string count_text(double value);
// "-" when negative: nothing to take a share of; 100 only when it is all.
std::string share_text(double percent);
// "-" when negative, ">60s" above the last bound, else "1.5ms", "120ms", "2.5s".
std::string latency_text(double ms);
// "999", "1.5K", "23M"
std::string bytes_text(double bytes);
// "1.50s", then as kubectl: "3m12s", "5h"
std::string lasting_text(uint64_t ms);
// Text of pods and clients: whatever is no printable ASCII shows as \xNN, so each byte that is left
// takes one column.
std::string visible(const std::string& text);
// Exactly `width` columns; "~" ends what was cut.
std::string fitted(const std::string& cell, size_t width, bool is_left);

}  // namespace np::nodectl
