// SPDX-License-Identifier: Apache-2.0
#include "control/arguments.h"

#include <nlohmann/json.hpp>

namespace np::control {

void Arguments::complain(const char* key, const char* expected) {
  if (problem_.empty()) {
    problem_ = std::string("argument \"") + key + "\" must be " + expected;
  }
}

bool Arguments::has(const char* key) const {
  return request_.contains(key);
}

std::string Arguments::text(const char* key, std::string fallback) {
  const auto at = request_.find(key);
  if (at == request_.end()) return fallback;
  if (at->is_string()) return at->get<std::string>();
  complain(key, "a string");
  return fallback;
}

bool Arguments::flag(const char* key) {
  const auto at = request_.find(key);
  if (at == request_.end()) return false;
  if (at->is_boolean()) return at->get<bool>();
  complain(key, "true or false");
  return false;
}

uint64_t Arguments::number(const char* key, uint64_t fallback) {
  const auto at = request_.find(key);
  if (at == request_.end()) return fallback;
  if (at->is_number_unsigned()) return at->get<uint64_t>();
  complain(key, "a whole number");
  return fallback;
}

std::vector<std::string> Arguments::texts(const char* key) {
  std::vector<std::string> values;
  const auto at = request_.find(key);
  if (at == request_.end()) return values;
  if (!at->is_array()) {
    complain(key, "a list of strings");
    return values;
  }
  for (const Json& value : *at) {
    if (value.is_string()) {
      values.push_back(value.get<std::string>());
    } else {
      complain(key, "a list of strings");
    }
  }
  return values;
}

policy::Labels Arguments::labels(const char* key) {
  policy::Labels values;
  const auto at = request_.find(key);
  if (at == request_.end()) return values;
  if (!at->is_object()) {
    complain(key, "a map of strings");
    return values;
  }
  for (const auto& [name, value] : at->items()) {
    if (value.is_string()) {
      values.emplace(name, value.get<std::string>());
    } else {
      complain(key, "a map of strings");
    }
  }
  return values;
}

std::vector<GivenFile> Arguments::files() {
  std::vector<GivenFile> files;
  const auto at = request_.find("files");
  if (at == request_.end()) return files;
  const char* expected = "a list of {\"name\": string, \"text\": string}";
  if (!at->is_array()) {
    complain("files", expected);
    return files;
  }
  for (const Json& file : *at) {
    const bool is_file = file.is_object() && file.contains("name") && file["name"].is_string() &&
                         file.contains("text") && file["text"].is_string();
    if (is_file) {
      files.push_back({file["name"].get<std::string>(), file["text"].get<std::string>()});
    } else {
      complain("files", expected);
    }
  }
  return files;
}

Json refusal(const std::string& error) {
  return {{"ok", false}, {"error", error}};
}

Json to_json(const policy::Diagnostic& diagnostic) {
  return {{"text", diagnostic.to_string()},
          {"level", diagnostic.level == policy::Diagnostic::Level::kError ? "error" : "warning"},
          {"file", diagnostic.file},
          {"line", diagnostic.line},
          {"object", diagnostic.object},
          {"field", diagnostic.field},
          {"message", diagnostic.message},
          {"found", diagnostic.found},
          {"allowed", diagnostic.allowed}};
}

// Bytes that are not UTF-8 can only come from the kernel or a library's message: shown as U+FFFD.
std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace np::control
