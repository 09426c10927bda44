// SPDX-License-Identifier: Apache-2.0
// An Explanation as JSON, with what is live where somebody can tell. Pure functions of their
// arguments; for the .cc files of this room only.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "control/seams.h"
#include "policy/explain.h"

namespace np::control {

// Who tells what is live; null: nobody, and nothing is said of it.
struct ExplainLive {
  EndpointWatch* watch = nullptr;
  LimitWatch* limits = nullptr;
};

nlohmann::json explanation_json(const policy::Explanation& explanation, const ExplainLive& live);

// Parts of the above, for its own files.
nlohmann::json destination_json(const policy::Explanation& explanation,
                                const policy::ExplainedDestination& destination,
                                const ExplainLive& live);
double percent_of(uint32_t per_million);
double milliseconds_of(Duration duration);

}  // namespace np::control
