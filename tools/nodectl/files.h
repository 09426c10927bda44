// SPDX-License-Identifier: Apache-2.0
// Reading what -f names: files, directories, standard input.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace np::nodectl {

struct InputFile {
  std::string name;  // as given, or DIR/ENTRY; "<stdin>" for "-"
  std::string text;
};

// A directory gives its *.yaml, *.yml and *.json in order of name; with `recursive` also those
// below it. Refused: nothing to read, text that is not UTF-8, more than a request may carry.
Result<std::vector<InputFile>> read_inputs(const std::vector<std::string>& paths, bool recursive);

}  // namespace np::nodectl
