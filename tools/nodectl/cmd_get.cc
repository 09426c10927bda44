// SPDX-License-Identifier: Apache-2.0
// get, describe.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "base/time.h"
#include "client.h"
#include "commands.h"
#include "output.h"
#include "policy/object_json.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

bool fetch(const Invocation& invocation, Json& answer) {
  const Json request = {{"verb", "get"},
                        {"kind", invocation.kind},
                        {"names", invocation.names},
                        {"namespace", invocation.ns},
                        {"all_namespaces", invocation.all_namespaces}};
  return ask_or_complain(invocation.run_dir, request, answer);
}

std::string status_cell(const Json& object) {
  std::string text = object.value("status", "");
  const size_t warnings = object["warnings"].size();
  if (warnings > 0) {
    text += ", " + std::to_string(warnings) + (warnings == 1 ? " warning" : " warnings");
  }
  return text;
}

std::string joined(const Json& texts, const char* separator) {
  std::string all;
  for (const Json& text : texts) all += (all.empty() ? "" : separator) + text.get<std::string>();
  return all;
}

// With several kinds a bare name would be ambiguous.
bool is_mixed(const Invocation& invocation) {
  return invocation.kind == "all" || invocation.kind.find(',') != std::string::npos;
}

void print_table(const Invocation& invocation, const Json& objects) {
  const bool wide = invocation.output == Output::kWide;
  std::vector<std::string> header = {"NAME", "AGE", "STATUS"};
  if (invocation.all_namespaces) header.insert(header.begin(), "NAMESPACE");
  if (wide && !invocation.all_namespaces) header.emplace_back("NAMESPACE");
  if (wide) header.insert(header.end(), {"HOSTS", "OBJECT"});
  Table table(std::move(header));
  const uint64_t now = wall_clock_ns();
  for (const Json& object : objects) {
    const std::string ns = object.value("namespace", "");
    const std::string name = object.value(is_mixed(invocation) ? "resource" : "name", "");
    std::vector<std::string> row = {
        name, age_text(object.value("created_unix_ns", uint64_t{0}), now), status_cell(object)};
    if (invocation.all_namespaces) row.insert(row.begin(), ns);
    if (wide && !invocation.all_namespaces) row.push_back(ns);
    if (wide) {
      row.push_back(joined(object["hosts"], ","));
      row.push_back(object.value("resource", ""));
    }
    table.add(std::move(row));
  }
  print(table.to_string());
}

// The object as it was given, but with the namespace that it was given on the command line.
Json with_namespace(const Json& object) {
  Json value = Json::parse(policy::to_json(object.value("text", "")), nullptr, false);
  if (!value.is_object()) return Json::object();
  const std::string ns = object.value("namespace", "");
  if (!ns.empty() && value.contains("metadata") && value["metadata"].is_object()) {
    value["metadata"]["namespace"] = ns;
  }
  return value;
}

bool names_its_namespace(const Json& object) {
  if (object.value("namespace", "").empty()) return true;
  const Json value = Json::parse(policy::to_json(object.value("text", "")), nullptr, false);
  return value.is_object() && value.contains("metadata") && value["metadata"].is_object() &&
         value["metadata"].contains("namespace");
}

// Comments survive: the text is kept as it was, and only a missing namespace is put in. Text of
// another shape (flow style, JSON) is written anew, and so is what a terminal would act on: only
// between quotes it can be escaped.
std::string yaml_document(const Json& object) {
  std::string text = object.value("text", "");
  if (has_unseen(text)) return to_yaml(with_namespace(object));
  if (text.empty() || text.back() != '\n') text += '\n';
  if (names_its_namespace(object)) return text;
  const std::string key = "\nmetadata:\n";
  const size_t at = ("\n" + text).find(key);
  if (at == std::string::npos) return to_yaml(with_namespace(object));
  const size_t next = at + key.size() - 1;
  const size_t indent = text.find_first_not_of(' ', next) - next;
  if (indent == 0 || text[next + indent] == '#' || text[next + indent] == '\n') {
    return to_yaml(with_namespace(object));
  }
  return text.insert(
      next, std::string(indent, ' ') + "namespace: " + object.value("namespace", "") + "\n");
}

void print_yaml(const Json& objects) {
  bool is_first = true;
  for (const Json& object : objects) {
    print((is_first ? "" : "---\n") + yaml_document(object));
    is_first = false;
  }
}

void print_json(const Invocation& invocation, const Json& objects) {
  if (objects.size() == 1 && invocation.names.size() == 1) {
    print(with_namespace(objects.front()).dump(4) + "\n");
    return;
  }
  Json list = {{"apiVersion", "v1"}, {"kind", "List"}, {"items", Json::array()}};
  for (const Json& object : objects) list["items"].push_back(with_namespace(object));
  print(list.dump(4) + "\n");
}

int print_missing(const Json& missing) {
  for (const Json& text : missing) {
    complain("error: " + text.get<std::string>());
  }
  return missing.empty() ? kExitDone : kExitFailed;
}

std::string indented(const std::string& text) {
  std::string out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    out += "  " + text.substr(begin, end - begin) + "\n";
    begin = end + 1;
  }
  return out;
}

void print_description(const Json& object) {
  const uint64_t created = object.value("created_unix_ns", uint64_t{0});
  const auto line = [](const char* name, const std::string& value) {
    std::string text = std::string(name) + ":";
    text.append(14 - text.size(), ' ');
    print(text + (value.empty() ? "<none>" : value) + "\n");
  };
  line("Name", object.value("name", ""));
  line("Namespace", object.value("namespace", ""));
  line("API Version", object.value("api_version", ""));
  line("Kind", object.value("kind", ""));
  line("Created", time_text(created) + " (" + age_text(created, wall_clock_ns()) + " ago)");
  line("Generation", std::to_string(object.value("generation", uint64_t{0})));
  line("From", object.value("file", "") + ":" + std::to_string(object.value("line", 0)));
  line("Hosts", joined(object["hosts"], "\n              "));
  line("Status", object.value("status", ""));
  if (!object.value("reason", "").empty()) line("Reason", object.value("reason", ""));
  if (object.contains("acceleration")) line("Acceleration", object.value("acceleration", ""));
  line("Warnings", joined(object["warnings"], "\n              "));
  print("Definition:\n" + indented(yaml_document(object)));
}

}  // namespace

int run_get(const Invocation& invocation) {
  Json answer;
  if (!fetch(invocation, answer)) return kExitFailed;
  const Json& objects = answer["objects"];
  if (invocation.output == Output::kYaml) {
    print_yaml(objects);
  } else if (invocation.output == Output::kJson) {
    print_json(invocation, objects);
  } else if (!objects.empty()) {
    print_table(invocation, objects);
  } else if (invocation.names.empty()) {
    const std::string where =
        invocation.all_namespaces ? "" : " in " + invocation.ns + " namespace";
    std::fprintf(stderr, "No resources found%s.\n", where.c_str());
  }
  return print_missing(answer["missing"]);
}

int run_describe(const Invocation& invocation) {
  Json answer;
  if (!fetch(invocation, answer)) return kExitFailed;
  bool is_first = true;
  for (const Json& object : answer["objects"]) {
    if (!is_first) print("\n");
    print_description(object);
    is_first = false;
  }
  return print_missing(answer["missing"]);
}

}  // namespace np::nodectl
