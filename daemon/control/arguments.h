// SPDX-License-Identifier: Apache-2.0
// Arguments: typed reading of one request. The first argument of a wrong type or size is remembered
// as the problem; readers then give empty values. For the .cc files of the verbs only, so that
// nlohmann stays out of other headers.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "policy/model.h"
#include "policy/object.h"

namespace np::control {

using Json = nlohmann::json;

struct GivenFile {
  std::string name;
  std::string text;
};

class Arguments {
 public:
  explicit Arguments(const Json& request) : request_(request) {}

  std::string text(const char* key, std::string fallback = "");
  bool flag(const char* key);
  uint64_t number(const char* key, uint64_t fallback);
  std::vector<std::string> texts(const char* key);
  policy::Labels labels(const char* key);
  std::vector<GivenFile> files();
  bool has(const char* key) const;

  const std::string& problem() const { return problem_; }

 private:
  void complain(const char* key, const char* expected);

  const Json& request_;
  std::string problem_;
};

Json refusal(const std::string& error);
Json to_json(const policy::Diagnostic& diagnostic);
std::string dump(const Json& json);

}  // namespace np::control
