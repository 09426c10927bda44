// SPDX-License-Identifier: Apache-2.0
#include "top_view.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>

#include "top_cells.h"
#include "top_sums.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

constexpr size_t kTopWidth = 80;
constexpr double kPercent = 100;

class RowWriter {
 public:
  void text(std::string cell) { put(std::move(cell), 0, false); }
  void rate(double value) { put(rate_text(value), value); }
  void number(double value) { put(count_text(value), value); }
  void share(double percent) { put(share_text(percent), percent); }
  void latency(double ms) { put(latency_text(ms), ms); }
  void bytes(double value) { put(bytes_text(value), value); }
  void lasting(uint64_t ms) { put(lasting_text(ms), static_cast<double>(ms)); }
  void label(std::string text) { row_.label = std::move(text); }
  TopRow take() { return std::move(row_); }

 private:
  void put(std::string cell, double value, bool is_number = true) {
    row_.is_number.push_back(is_number);
    row_.cells.push_back(std::move(cell));
    row_.values.push_back(value);
  }

  TopRow row_;
};

std::vector<double> bounds_of(const Json& answer) {
  std::vector<double> bounds;
  for (const Json& bound : list_in(answer, "duration_bounds_ms")) bounds.push_back(bound);
  return bounds;
}

constexpr std::string_view kDomain = ".svc.cluster.local";

// Only the end is the domain: what has it in its middle is another host.
std::string short_host(std::string host) {
  if (host.ends_with(kDomain)) host.resize(host.size() - kDomain.size());
  return host;
}

// Who asks about one namespace knows which.
std::string name_in(const std::string& ns, const std::string& host) {
  std::string name = short_host(host);
  if (!ns.empty() && name.ends_with("." + ns)) name.resize(name.size() - ns.size() - 1);
  return name;
}

// A host outside the cluster is of no namespace: it shows in each.
bool is_in(const std::string& ns, const std::string& host) {
  return ns.empty() || short_host(host).ends_with("." + ns) || !host.ends_with(kDomain);
}

// ---- tables ----------------------------------------------------------------------------------

const std::vector<TopColumn> kServiceColumns = {
    {"SERVICE"},    {"VERSION", 7}, {"REQ/S", 6},   {"OK%", 5, true}, {"P50", 6}, {"P99", 6},
    {"RETRY/S", 7}, {"REFUSED", 7}, {"EJECTED", 7}, {"FAULT/S"},      {"FAIL/S"}};
const std::vector<TopColumn> kRouteColumns = {
    {"RULE"},   {"REQ/S", 6},   {"4XX/S", 6},   {"5XX/S", 6}, {"P50", 6},
    {"P99", 6}, {"DELAY/S", 7}, {"ABORT/S", 7}, {"RETRY/S"},  {"HOST"}};
const std::vector<TopColumn> kPodColumns = {
    {"POD"},       {"OPEN", 6},     {"NEW/S", 6},    {"REQ/S", 6}, {"FAIL/S", 6}, {"CPU%", 6},
    {"BYTE/S", 6}, {"WAITED/S", 8}, {"CAPPED/S", 8}, {"IN/S"},     {"OUT/S"}};
const std::vector<TopColumn> kConnectionColumns = {
    {"CLIENT"},    {"SERVICE", 17}, {"STATE", 5}, {"AGE", 6},  {"REQ", 6},
    {"BYTE/S", 6}, {"BYTES", 6},    {"REQ/S"},    {"FAIL"},    {"RETRY"},
    {"2XX"},       {"3XX"},         {"4XX"},      {"5XX"},     {"IN"},
    {"OUT"},       {"POD"},         {"ADDRESS"},  {"DIALLED"}, {"ROUTE"}};

void add_services(const TopOptions& options, const Json& before, const Json& after, double seconds,
                  TopTable& table) {
  const std::vector<double> bounds = bounds_of(after);
  const auto sums = request_sums(before, after, [](const Json& request) {
    return PairOfNames(text_in(request, "host"), text_in(request, "version"));
  });
  const std::map<PairOfNames, double> ejected = ejected_endpoints(after);
  for (const auto& [key, sum] : sums) {
    const auto& [host, version] = key;
    if (!is_in(options.ns, host)) continue;
    const auto out = ejected.find(key);
    RowWriter row;
    row.text(name_in(options.ns, host));
    row.text(version.empty() ? "-" : version);
    row.rate(sum.requests / seconds);
    row.share(sum.requests > 0 ? kPercent * (sum.requests - sum.failures) / sum.requests : -1);
    row.latency(quantile_ms(bounds, sum.buckets, 0.5));
    row.latency(quantile_ms(bounds, sum.buckets, 0.99));
    row.rate(sum.retries / seconds);
    row.rate(sum.refused / seconds);
    row.number(out != ejected.end() ? out->second : 0);
    row.rate((sum.delays + sum.aborts) / seconds);
    row.rate(sum.failures / seconds);
    table.rows.push_back(row.take());
  }
}

std::string rule_of(const Json& request) {
  const std::string object = text_in(request, "object"), route = text_in(request, "route");
  return object.empty() ? route + " of " + short_host(text_in(request, "host"))
                        : object + ", " + route;
}

void add_routes(const TopOptions& options, const Json& before, const Json& after, double seconds,
                TopTable& table) {
  const std::vector<double> bounds = bounds_of(after);
  const auto sums = request_sums(before, after, [](const Json& request) {
    return PairOfNames(text_in(request, "host"), rule_of(request));
  });
  std::map<std::string, size_t> hosts_of_rule;
  for (const auto& [key, sum] : sums) ++hosts_of_rule[key.second];
  for (const auto& [key, sum] : sums) {
    const auto& [host, rule] = key;
    if (!is_in(options.ns, host)) continue;
    RowWriter row;
    row.text(rule);
    // Rows of a rule that acts on several hosts would look the same.
    if (hosts_of_rule[rule] > 1) row.label(name_in(options.ns, host) + ": " + rule);
    row.rate(sum.requests / seconds);
    row.rate(sum.client_errors / seconds);
    row.rate(sum.failures / seconds);
    row.latency(quantile_ms(bounds, sum.buckets, 0.5));
    row.latency(quantile_ms(bounds, sum.buckets, 0.99));
    row.rate(sum.delays / seconds);
    row.rate(sum.aborts / seconds);
    row.rate(sum.retries / seconds);
    row.text(host);
    table.rows.push_back(row.take());
  }
}

// By id: a name may come again while its former pod is still told.
std::map<PairOfNames, const Json*> pods_of(const Json& answer) {
  std::map<PairOfNames, const Json*> pods;
  for (const Json& pod : list_in(answer, "pods")) {
    pods[{text_in(pod, "pod"), std::to_string(count_in(pod, "id"))}] = &pod;
  }
  return pods;
}

void add_pods(const TopOptions& options, const Json& before, const Json& after, double seconds,
              TopTable& table) {
  constexpr double kUsPerSecond = 1e6;
  const std::map<PairOfNames, const Json*> earlier = pods_of(before);
  for (const auto& [key, pod] : pods_of(after)) {
    const std::string& name = key.first;
    if (!options.ns.empty() && !name.starts_with(options.ns + "/")) continue;
    const auto known = earlier.find(key);
    const auto grown = [&, now = pod](const char* field) {
      const uint64_t was = known != earlier.end() ? count_in(*known->second, field) : 0;
      return difference(count_in(*now, field), was) / seconds;
    };
    RowWriter row;
    row.text(name);
    row.number(static_cast<double>(count_in(*pod, "open")));
    row.rate(grown("flows_opened"));
    row.rate(grown("requests"));
    row.rate(grown("failures"));
    row.rate(kPercent * grown("cpu_us") / kUsPerSecond);
    row.bytes(grown("bytes"));
    row.rate(grown("turns_waited") + grown("receives_held"));
    row.rate(grown("flows_refused_by_cap") + grown("flows_dropped_by_rate"));
    row.bytes(grown("rx_bytes"));
    row.bytes(grown("tx_bytes"));
    table.rows.push_back(row.take());
  }
}

// The start belongs to it: a port is used again.
std::string connection_identity(const Json& connection) {
  return text_in(connection, "client") + ' ' + text_in(connection, "dialled") + ' ' +
         std::to_string(count_in(connection, "start_ns"));
}

// `was`: null when it is not known what it had counted before.
void add_connection(const TopOptions& options, const Json& one, const Json* was, double seconds,
                    TopTable& table) {
  const auto total = [&](const char* field) { return static_cast<double>(count_in(one, field)); };
  const auto grown = [&](const char* field) {
    return was == nullptr ? 0 : difference(count_in(one, field), count_in(*was, field)) / seconds;
  };
  const std::string client = text_in(one, "client"), pod = text_in(one, "pod");
  RowWriter row;
  row.text(pod + client.substr(std::min(client.rfind(':'), client.size())));
  row.text(name_in(options.ns, text_in(one, "service")));
  row.text(text_in(one, "state"));
  row.lasting(count_in(one, "age_ms"));
  row.number(total("requests"));
  row.bytes(grown("tx_bytes") + grown("rx_bytes"));
  row.bytes(total("tx_bytes") + total("rx_bytes"));
  row.rate(grown("requests"));
  row.number(total("failures"));
  row.number(total("retries"));
  for (const char* field : {"status_2xx", "status_3xx", "status_4xx", "status_5xx"}) {
    row.number(total(field));
  }
  row.bytes(total("rx_bytes"));
  row.bytes(total("tx_bytes"));
  row.text(pod);
  row.text(client);
  row.text(text_in(one, "dialled"));
  row.text(text_in(one, "route"));
  table.rows.push_back(row.take());
}

void add_connections(const TopOptions& options, const Json& before, const Json& after,
                     double seconds, TopTable& table) {
  constexpr double kMsPerSecond = 1000;
  std::map<std::string, const Json*> earlier;
  for (const Json& one : list_in(before, "connections")) earlier[connection_identity(one)] = &one;
  const Json nothing = Json::object();
  for (const Json& one : list_in(after, "connections")) {
    if (!options.ns.empty() && !text_in(one, "pod").starts_with(options.ns + "/")) continue;
    const auto known = earlier.find(connection_identity(one));
    const Json* was = known != earlier.end() ? known->second : nullptr;
    // What has begun since had counted nothing; an older one was missed by the former answer.
    const bool is_new = static_cast<double>(count_in(one, "age_ms")) <= seconds * kMsPerSecond;
    if (was == nullptr && is_new) was = &nothing;
    add_connection(options, one, was, seconds, table);
  }
}

// ---- all of them -----------------------------------------------------------------------------

const std::vector<TopColumn>& columns_of(const std::string& kind) {
  if (kind == "services") return kServiceColumns;
  if (kind == "routes") return kRouteColumns;
  return kind == "pods" ? kPodColumns : kConnectionColumns;
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

size_t column_named(const std::vector<TopColumn>& columns, const std::string& name) {
  size_t place = 0;
  while (place < columns.size() && lower(columns[place].name) != name) ++place;
  return place;
}

// The number of columns: there is none of that name.
size_t sort_column(const std::string& kind, const std::string& sort) {
  const std::vector<TopColumn>& columns = columns_of(kind);
  const bool is_flow = kind == "connections";
  if (sort == "name") return 0;
  if (sort.empty() || sort == "rate") return column_named(columns, is_flow ? "byte/s" : "req/s");
  if (sort == "requests") return column_named(columns, is_flow ? "req" : "req/s");
  if (sort == "bytes" && !is_flow) return column_named(columns, "byte/s");
  return column_named(columns, sort);
}

void sort_rows(const TopOptions& options, TopTable& table) {
  const size_t column = sort_column(options.kind, options.sort);
  if (column >= table.columns.size()) return;
  const bool least_first = table.columns[column].least_first;
  // Text goes up, numbers go down unless little is bad; what has no value comes last. Equal ones by
  // name, so that lines do not jump.
  const auto rank = [=](const TopRow& row) {
    const double value = row.values[column];
    if (!least_first) return value;
    return value < 0 ? -std::numeric_limits<double>::infinity() : -value;
  };
  std::stable_sort(table.rows.begin(), table.rows.end(), [&](const TopRow& a, const TopRow& b) {
    if (rank(a) != rank(b)) return rank(a) > rank(b);
    if (!a.is_number[column] && a.cells[column] != b.cells[column]) {
      return a.cells[column] < b.cells[column];
    }
    return a.cells[0] < b.cells[0];
  });
}

std::string title_of(const TopOptions& options, const Json& after, double seconds, size_t rows) {
  const std::string over = ", over " + rate_text(seconds) + " s";
  const std::string of_ns = options.ns.empty() ? "" : ", namespace " + options.ns;
  if (options.kind == "connections") {
    const size_t all = list_in(after, "connections").size();
    const std::string counted =
        rows == all ? std::to_string(all) : std::to_string(rows) + " of " + std::to_string(all);
    return text_in(after, "instance") + ": " + counted + " captured connections" + of_ns + over;
  }
  std::string title =
      text_in(after, "instance") + ": " + std::to_string(count_in(after, "shards")) + " shards, " +
      std::to_string(count_in(after, "open_connections")) + " connections" + of_ns + over;
  const auto overloaded = after.find("overloaded");
  if (overloaded != after.end() && *overloaded == true) title += ", OVERLOADED";
  return title;
}

}  // namespace

std::vector<std::string> top_sort_names(const std::string& kind) {
  std::vector<std::string> names;
  for (const TopColumn& column : columns_of(kind)) names.push_back(lower(column.name));
  return names;
}

bool is_top_sort(const std::string& kind, const std::string& sort) {
  return sort_column(kind, sort) < columns_of(kind).size();
}

TopTable top_table(const TopOptions& options, const Json& before, const Json& after,
                   double seconds) {
  TopTable table;
  table.columns = columns_of(options.kind);
  if (options.kind == "services") add_services(options, before, after, seconds, table);
  if (options.kind == "routes") add_routes(options, before, after, seconds, table);
  if (options.kind == "pods") add_pods(options, before, after, seconds, table);
  if (options.kind == "connections") add_connections(options, before, after, seconds, table);
  table.title = title_of(options, after, seconds, table.rows.size());
  sort_rows(options, table);
  return table;
}

std::string top_text(const TopTable& table, size_t limit) {
  size_t others = 0;
  for (size_t i = 1; i < table.columns.size(); ++i) {
    if (table.columns[i].width > 0) others += 1 + table.columns[i].width;
  }
  const auto line_of = [&](const auto& cell_of) {
    std::string line = fitted(visible(cell_of(0)), kTopWidth - others, true);
    for (size_t i = 1; i < table.columns.size(); ++i) {
      const size_t width = table.columns[i].width;
      if (width > 0) line += " " + fitted(visible(cell_of(i)), width, false);
    }
    return line + "\n";
  };
  std::string text = fitted(visible(table.title), kTopWidth, true);
  text.erase(text.find_last_not_of(' ') + 1);
  text += "\n" + line_of([&](size_t i) { return table.columns[i].name; });
  for (size_t at = 0; at < std::min(limit, table.rows.size()); ++at) {
    const TopRow& row = table.rows[at];
    text +=
        line_of([&](size_t i) { return i == 0 && !row.label.empty() ? row.label : row.cells[i]; });
  }
  if (table.rows.size() > limit) {
    text += "... and " + std::to_string(table.rows.size() - limit) + " more (--limit)\n";
  }
  return text;
}

Json top_json(const TopTable& table, size_t limit) {
  Json rows = Json::array();
  for (size_t at = 0; at < std::min(limit, table.rows.size()); ++at) {
    const TopRow& row = table.rows[at];
    Json one = Json::object();
    for (size_t i = 0; i < table.columns.size(); ++i) {
      Json& cell = one[lower(table.columns[i].name)];
      if (!row.is_number[i] || std::isinf(row.values[i])) {
        cell = row.cells[i];
      } else if (row.values[i] >= 0) {
        cell = row.values[i];
      }
    }
    rows.push_back(std::move(one));
  }
  return {{"title", table.title}, {"rows", std::move(rows)}, {"count", table.rows.size()}};
}

}  // namespace np::nodectl
