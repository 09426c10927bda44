// SPDX-License-Identifier: Apache-2.0
// An explanation as people read it, from the top down: is it captured, whose rules are asked, which
// of them matched, what is injected, where it goes, what may stop it. Pure functions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "page.h"

namespace np::nodectl {

// `wide`: every rule that was tried and all that was read from maps, however many.
std::string explanation_text(const nlohmann::json& explanation, bool wide);

// A part of it, for its own files: the places that the request may go to.
void write_destinations(const nlohmann::json& explanation, Page& page);

std::string value_text(const nlohmann::json& object, const char* key);  // "": it has none
std::string milliseconds_text(double milliseconds);                     // "7 s", "250 ms"
std::string number_text(double number);                                 // "50", "12.5"
std::string place_text(const nlohmann::json& place);  // " (reviews.yaml:12)", or empty

}  // namespace np::nodectl
