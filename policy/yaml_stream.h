// SPDX-License-Identifier: Apache-2.0
// Cuts a stream of YAML text into documents, keeping the line of each. Works on text alone, so that
// every document can be stored as it was written.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/yaml_tree.h"

namespace np::policy {

struct YamlDocument {
  std::string text;  // line ends are \n; indentation common to all lines is removed
  int line = 1;      // line of the stream on which `text` begins
};

// Accepts \n, \r\n and \r as line ends and a UTF-8 byte order mark. Refuses what is not UTF-8.
// Documents that hold only blanks and comments are left out.
std::optional<YamlError> split_yaml(std::string_view stream, std::vector<YamlDocument>& documents);

// Removes the blanks that every line of `text` starts with (blank lines do not count).
std::string remove_common_indent(std::string_view text);

}  // namespace np::policy
