// SPDX-License-Identifier: Apache-2.0
#include "waterfall.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/printable.h"
#include "output.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

constexpr size_t kNameColumns = 34;
constexpr size_t kStatusColumns = 5;
constexpr size_t kTimeColumns = 9;
constexpr size_t kBarColumns = 27;
constexpr size_t kDepthMax = 12;  // deeper ones are not indented further

struct Row {
  const Json* span = nullptr;
  size_t depth = 0;
};

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? printable(found->get<std::string>()) : "";
}

std::string tag_of(const Json& span, const char* key) {
  const auto tags = span.find("tags");
  return tags != span.end() && tags->is_object() ? text_of(*tags, key) : "";
}

int64_t start_of(const Json& span) {
  return span.value("start_unix_us", int64_t{0});
}
int64_t duration_of(const Json& span) {
  return span.value("duration_us", int64_t{0});
}

// Children under their parents, each list in order of time. Spans whose parent is not kept here
// begin trees of their own, and ids that go in a circle end it.
std::vector<Row> rows_of(const Json& spans) {
  std::map<std::string, std::vector<const Json*>> children;
  std::set<std::string> known;
  for (const Json& span : spans) known.insert(span.value("id", ""));
  std::vector<const Json*> roots;
  for (const Json& span : spans) {
    const std::string parent = span.value("parent", "");
    if (known.contains(parent) && parent != span.value("id", "")) {
      children[parent].push_back(&span);
    } else {
      roots.push_back(&span);
    }
  }
  std::vector<Row> rows;
  std::set<const Json*> seen;
  std::vector<Row> waiting;
  const auto push = [&waiting](const std::vector<const Json*>& list, size_t depth) {
    for (auto span = list.rbegin(); span != list.rend(); ++span) waiting.push_back({*span, depth});
  };
  const auto visit = [&] {
    while (!waiting.empty()) {
      const Row row = waiting.back();
      waiting.pop_back();
      if (!seen.insert(row.span).second) continue;
      rows.push_back(row);
      push(children[row.span->value("id", "")], row.depth + 1);
    }
  };
  push(roots, 0);
  visit();
  // Parents that go in a circle have no beginning.
  for (const Json& span : spans) {
    if (seen.contains(&span)) continue;
    push({&span}, 0);
    visit();
  }
  return rows;
}

std::string cut(const std::string& text, size_t columns) {
  return text.size() <= columns ? text : text.substr(0, columns - 1) + "~";
}

std::string padded(const std::string& text, size_t columns) {
  const std::string fitting = cut(text, columns);
  return fitting + std::string(columns - fitting.size(), ' ');
}

std::string bar_of(const Json& span, int64_t from, int64_t whole) {
  const auto place = [from, whole](int64_t at) {
    const double part =
        static_cast<double>(at - from) / static_cast<double>(std::max<int64_t>(1, whole));
    return static_cast<size_t>(std::clamp(part, 0.0, 1.0) * kBarColumns);
  };
  const size_t begin = std::min(place(start_of(span)), kBarColumns - 1);
  const size_t end = std::max(begin + 1, place(start_of(span) + duration_of(span)));
  const char mark = span.value("error", false) ? 'x' : '=';
  return std::string(begin, ' ') + std::string(end - begin, mark);
}

std::string status_of(const Json& span) {
  const std::string status = tag_of(span, "http.status_code");
  return status.empty() || status == "0" ? "-" : status;
}

// What the proxy did to the request: the reason why a person looks.
std::string notes_of(const Json& span) {
  // The called side says the same, without the policy.
  const std::string object = tag_of(span, "nodeproxy.object");
  if (object.empty()) return "";
  std::string notes;
  const auto add = [&notes](const std::string& note) {
    notes += (notes.empty() ? "" : ", ") + note;
  };
  const std::string flags = tag_of(span, "response_flags");
  if (!flags.empty() && flags != "-") add("flags " + flags);
  if (const std::string ms = tag_of(span, "fault.delay_ms"); !ms.empty()) {
    add("delay of " + ms + " ms injected");
  }
  if (const std::string abort = tag_of(span, "fault.abort"); !abort.empty()) {
    add("abort " + abort + " injected");
  }
  if (const std::string retries = tag_of(span, "nodeproxy.retries"); !retries.empty()) {
    add("tried again " + retries + (retries == "1" ? " time" : " times"));
  }
  if (!tag_of(span, "nodeproxy.waited").empty()) add("waited for a limit");
  const bool is_injected = notes.find("injected") != std::string::npos;
  if (!notes.empty()) add((is_injected ? "by " : "under ") + object);
  return notes;
}

// Notes may be long: they go on below, broken between words.
void append_wrapped(std::string& out, const std::string& text, size_t indent) {
  constexpr size_t kColumns = 80;
  std::string line(indent, ' ');
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (line.size() > indent && line.size() + 1 + word.size() > kColumns) {
      out += line + "\n";
      line.assign(indent, ' ');
    }
    line += (line.size() > indent ? " " : "") + word;
    begin = end + 1;
  }
  if (line.size() > indent) out += line + "\n";
}

void append_row(std::string& out, const Row& row, int64_t from, int64_t whole, bool wide) {
  const Json& span = *row.span;
  const size_t indent = 2 * std::min(row.depth, kDepthMax);
  const bool is_client = text_of(span, "kind") == "CLIENT";
  const std::string name =
      std::string(indent, ' ') + text_of(span, "service") + (is_client ? " >" : "");
  out += padded(name, kNameColumns) + " " + padded(status_of(span), kStatusColumns) +
         padded(duration_text(duration_of(span)), kTimeColumns) + " |" + bar_of(span, from, whole) +
         "\n";
  append_wrapped(out, notes_of(span), indent + 2);
  const auto tags = span.find("tags");
  if (!wide || tags == span.end() || !tags->is_object()) return;
  out += std::string(indent + 2, ' ') + "route: " + text_of(span, "name") + "\n";
  for (const auto& [key, value] : tags->items()) {
    out +=
        std::string(indent + 2, ' ') + printable(key) + ": " + text_of(*tags, key.c_str()) + "\n";
  }
}

}  // namespace

std::string waterfall_text(const Json& trace, bool wide) {
  const auto spans = trace.find("spans");
  if (spans == trace.end() || !spans->is_array() || spans->empty()) return "no spans\n";
  int64_t from = INT64_MAX, to = 0;
  size_t errors = 0;
  for (const Json& span : *spans) {
    from = std::min(from, start_of(span));
    to = std::max(to, start_of(span) + duration_of(span));
    errors += span.value("error", false) ? 1U : 0U;
  }
  std::string out = "Trace " + text_of(trace, "id") + ": " + duration_text(to - from) + ", " +
                    std::to_string(spans->size()) + (spans->size() == 1 ? " span, " : " spans, ") +
                    std::to_string(errors) + " in error (x)\n";
  out += padded("SERVICE (> calls)", kNameColumns) + " " + padded("CODE", kStatusColumns) +
         padded("TIME", kTimeColumns) + " |0" +
         std::string(kBarColumns - 1 - duration_text(to - from).size(), ' ') +
         duration_text(to - from) + "\n";
  for (const Row& row : rows_of(*spans)) append_row(out, row, from, to - from, wide);
  return out;
}

}  // namespace np::nodectl
