// SPDX-License-Identifier: Apache-2.0
// Asking the daemon over its control socket (control/wire.h): one connection, one question, one
// answer. Blocking; a daemon that is silent for so long is given up.
#pragma once

#include <ctime>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"

namespace np::nodectl {

// /run/nodeproxy for root; $XDG_RUNTIME_DIR/nodeproxy for others, unless only the former has a
// daemon that they may talk to.
std::string default_run_dir();

// kNotFound: no daemon answers there; the hint says how to start one.
Result<nlohmann::json> ask(const std::string& run_dir, const nlohmann::json& request,
                           time_t silence_seconds = 60);

// Asks, and prints what was refused to stderr. True when the answer is there.
bool ask_or_complain(const std::string& run_dir, const nlohmann::json& request,
                     nlohmann::json& answer);

}  // namespace np::nodectl
