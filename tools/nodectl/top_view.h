// SPDX-License-Identifier: Apache-2.0
// What `nodectl top` shows: two answers of the daemon, some time apart, as rates. Pure.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace np::nodectl {

struct TopOptions {
  std::string kind;  // "services", "routes", "pods" or "connections"
  std::string sort;  // of top_sort_names(); empty: by rate
  std::string ns;    // empty: every namespace
};

// One column, and what may be sorted by it.
struct TopColumn {
  std::string name;  // "REQ/S"
  size_t width = 0;  // the first takes what is left of 80; of others 0: in JSON alone
  bool least_first = false;
};
struct TopRow {
  std::vector<std::string> cells;  // names as they came
  std::vector<double> values;      // parallel to cells; 0 where a cell is text
  std::vector<bool> is_number;
  std::string label;  // the first cell of the text, when it says more than cells[0]
};
struct TopTable {
  std::string title;  // "npdemo: 2 shards, 12 connections, ..."
  std::vector<TopColumn> columns;
  std::vector<TopRow> rows;  // sorted, not cut
};

// `before` and `after`: what the verb of the kind answered. `seconds` lie between them.
TopTable top_table(const TopOptions& options, const nlohmann::json& before,
                   const nlohmann::json& after, double seconds);
// No line is longer than 80 columns; no byte is other than printable ASCII or a line's end.
std::string top_text(const TopTable& table, size_t limit);
// Rates are numbers; null: there was nothing to take a share or a quantile of.
nlohmann::json top_json(const TopTable& table, size_t limit);
// Names that --sort takes: the columns in lower case. Beside them, for every kind: "name", "rate",
// "requests", "bytes" and "age", where there is such a column.
std::vector<std::string> top_sort_names(const std::string& kind);
bool is_top_sort(const std::string& kind, const std::string& sort);

}  // namespace np::nodectl
