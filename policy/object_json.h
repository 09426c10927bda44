// SPDX-License-Identifier: Apache-2.0
// A YAML document as JSON text, for `nodectl get -o json`. Pure function.
#pragma once

#include <string>
#include <string_view>

namespace np::policy {

// Plain scalars become numbers, booleans and null by the rules of YAML 1.2; quoted ones stay
// strings. "null" for text that is not one YAML document.
std::string to_json(std::string_view yaml);

}  // namespace np::policy
