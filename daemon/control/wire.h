// SPDX-License-Identifier: Apache-2.0
// The protocol of the control socket (RUN_DIR/control.sock), shared with nodectl: one request and
// one answer per connection, each a 4-byte big-endian length and that many bytes of JSON.
//   request  {"verb": "apply", ...arguments}
//   answer   {"ok": true, ...} or {"ok": false, "error": "...", "diagnostics": [...]}
#pragma once

#include <cstddef>
#include <cstdint>

namespace np::control {

inline constexpr const char* kControlSocketName = "control.sock";
inline constexpr size_t kRequestBytesMax = 32U * 1024 * 1024;  // 10 000 routes are about 4 MiB
inline constexpr size_t kAnswerBytesMax = 256U * 1024 * 1024;
inline constexpr uint32_t kLengthBytes = 4;

}  // namespace np::control
