// SPDX-License-Identifier: Apache-2.0
// What people read: aligned tables, ages, times, and JSON shown as YAML. Pure functions but for
// those that print. Policies and traces hold texts of others: nothing is printed that a terminal
// acts on unseen (base/printable.h); of JSON and of to_yaml() what is printed says the same.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace np::nodectl {

class Table {
 public:
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  // Columns are three blanks apart; the last is not padded; an empty cell shows as "<none>".
  std::string to_string() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// kubectl's short form: "45s", "3m12s", "5h", "12d".
std::string age_text(uint64_t created_unix_ns, uint64_t now_unix_ns);
// "2026-01-31T12:00:00Z"; "<none>" for 0.
std::string time_text(uint64_t unix_ns);

// "812us", "34.5ms", "6.01s".
std::string duration_text(int64_t us);

std::string to_yaml(const nlohmann::json& value);

void print(const std::string& text);
// A line on stderr.
void complain(const std::string& text);
// "Warning: ..." on stderr, one line each.
void print_warnings(const nlohmann::json& warnings);

}  // namespace np::nodectl
