// SPDX-License-Identifier: Apache-2.0
// How much memory is in use, for people: in the log, nodectl status and doctor.
#pragma once

#include <cstdint>
#include <string>

namespace np {

// "512.0 MiB".
std::string bytes_text(uint64_t bytes);
// "96.0 MiB of 512.0 MiB (--memory-limit) in use, 18.8 %"; a `limit` of 0 is not known.
std::string memory_use_text(uint64_t used, uint64_t limit, const std::string& limit_source);

}  // namespace np
