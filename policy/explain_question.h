// SPDX-License-Identifier: Apache-2.0
// What a person asks explain() about: one request, written as on a command line. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace np::policy {

// As typed.
struct QuestionText {
  std::string from;                  // --from
  std::string to;                    // --to
  std::string ns = "default";        // where names without a namespace are looked for
  std::string method = "GET";        // --method
  std::string path = "/";            // --path, with query
  std::vector<std::string> headers;  // -H
};

struct ExplainQuestion {
  std::string from;  // "ns/name", "name", "k=v,k=v", an address, or the name of an app
  std::string ns;
  std::string host;  // lower case, without brackets
  uint16_t port = 0;
  std::string method;
  std::string target;
  std::string authority;                                     // what the client writes into Host
  std::vector<std::pair<std::string, std::string>> headers;  // Host not among them
};

// The Error says what was found and what is allowed.
Result<ExplainQuestion> read_question(const QuestionText& text);

}  // namespace np::policy
