// SPDX-License-Identifier: Apache-2.0
// Unified diff of two texts, as `diff -u` prints it. Pure function.
#pragma once

#include <string>

namespace np::nodectl {

// Empty when the texts are equal. Lines that differ in a missing newline at the end count as equal.
std::string unified_diff(const std::string& old_name, const std::string& old_text,
                         const std::string& new_name, const std::string& new_text);

}  // namespace np::nodectl
