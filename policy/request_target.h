// SPDX-License-Identifier: Apache-2.0
// Normalisation of what requests are matched by (traffic-semantics 4.4, 4.6 BASE). Done once,
// before matching; the same path goes upstream. Pure functions.
#pragma once

#include <string>
#include <string_view>

namespace np::policy {

struct TargetParts {
  bool valid = false;      // false: answer 400
  std::string_view path;   // normalised; points into the target or into `scratch`
  std::string_view query;  // untouched, without '?'
  bool has_query = false;
};

// `scratch` is used only where the path changes; it must outlive the result.
TargetParts normalize_target(std::string_view target, std::string& scratch);

// Lower case, default port of `scheme` and trailing dot removed. Points into the input or
// `scratch`.
std::string_view canonical_authority(std::string_view authority, std::string_view scheme,
                                     std::string& scratch);

}  // namespace np::policy
