// SPDX-License-Identifier: Apache-2.0
// Shared by the loader tests: YAML text in, model and complaints out.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "policy/object.h"

namespace np::policy {

struct Loaded {
  std::vector<Object> objects;
  Model model;
  Diagnostics diagnostics;

  std::string text() const {
    std::string out;
    for (const Diagnostic& diagnostic : diagnostics) out += diagnostic.to_string() + "\n";
    return out;
  }

  // The one complaint that starts with "f.yaml:LINE: " and contains `part`.
  bool says(const std::string& start, const std::string& part) const {
    for (const Diagnostic& diagnostic : diagnostics) {
      std::string line = diagnostic.to_string();
      if (line.starts_with(start) && line.find(part) != std::string::npos) return true;
    }
    return false;
  }
};

inline std::vector<Object> parse(const std::string& yaml, Diagnostics& diagnostics,
                                 const std::string& ns = "default",
                                 const std::string& file = "f.yaml") {
  ParseOptions options;
  options.file = file;
  options.default_namespace = ns;
  return parse_objects(yaml, options, diagnostics);
}

inline Loaded load(const std::string& yaml, const std::string& ns = "default") {
  Loaded loaded;
  loaded.objects = parse(yaml, loaded.diagnostics, ns);
  loaded.model = load_model(loaded.objects, loaded.diagnostics);
  return loaded;
}

inline std::string read_sample(const std::string& path) {
  std::ifstream file(std::string(NP_SOURCE_DIR) + "/tests/support/samples/" + path);
  EXPECT_TRUE(file.good()) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Every line of `spec`, two blanks deeper, under an envelope whose spec starts on line 5.
inline std::string object_of(const std::string& api, const std::string& kind,
                             const std::string& spec) {
  std::string out = "apiVersion: " + api + "\nkind: " + kind + "\nmetadata: {name: x}\nspec:\n";
  std::istringstream lines(spec);
  for (std::string line; std::getline(lines, line);) out += "  " + line + "\n";
  return out;
}

}  // namespace np::policy
