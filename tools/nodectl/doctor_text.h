// SPDX-License-Identifier: Apache-2.0
// How `nodectl doctor` reads: checks under their areas, 80 columns, each finding with its remedy.
// Text of policies and of other programs is escaped. Pure functions of the daemon's answer.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace np::nodectl {

struct DoctorCount {
  size_t ok = 0;
  size_t warn = 0;
  size_t fail = 0;
};
DoctorCount count_checks(const nlohmann::json& checks);

// `run_dir`: given to every nodectl command when it is not the usual one; else empty. `all`: every
// check; otherwise only the first few of an area that are ok.
std::string doctor_text(const nlohmann::json& checks, const std::string& run_dir, bool all);

// {checks, summary: {ok, warn, fail}}
nlohmann::json doctor_json(const nlohmann::json& checks);

}  // namespace np::nodectl
