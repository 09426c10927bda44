// SPDX-License-Identifier: Apache-2.0
// nodeproxyd run by nodectl, to look at the node when no daemon answers: it has what a look needs,
// and nodectl links none of it.
#pragma once

#include <string>
#include <vector>

namespace np::nodectl {

// The daemon's program beside this one, else the one that the path names.
std::string daemon_program();

// What it prints; nothing when it cannot be run.
std::string output_of(const std::string& program, const std::vector<std::string>& arguments);

}  // namespace np::nodectl
