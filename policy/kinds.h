// SPDX-License-Identifier: Apache-2.0
// Which kinds exist, which API versions each has, and why others are refused. Constant data.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "policy/object.h"

namespace np::policy {

// The accepted kind, or null.
const KindInfo* find_kind_in_group(std::string_view group, std::string_view kind);

// Versions of an accepted group as text for messages: "v1, v1beta1, v1alpha3".
std::string versions_of(std::string_view group);
bool is_version_of(std::string_view group, std::string_view version);

// Why an object of this group and kind cannot be taken, and what to use instead.
std::string why_refused(std::string_view group, std::string_view kind);

}  // namespace np::policy
