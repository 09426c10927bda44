// SPDX-License-Identifier: Apache-2.0
// A trace as a person reads it: its spans as a tree, each with a bar at its place in time. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace np::nodectl {

// `trace` as the daemon tells it ({id, spans}); at most 80 columns, but for the tags that `wide`
// adds under each span.
std::string waterfall_text(const nlohmann::json& trace, bool wide);

}  // namespace np::nodectl
