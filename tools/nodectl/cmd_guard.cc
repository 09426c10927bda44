// SPDX-License-Identifier: Apache-2.0
// guard attach, detach, list, status, deny, limit.
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "client.h"
#include "commands.h"
#include "output.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

// "1000" or "1000/2000".
struct Rate {
  uint32_t rate = 0;
  std::optional<uint32_t> burst;
};

std::optional<uint32_t> parse_number(const std::string& text) {
  uint32_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, value);
  if (text.empty() || problem != std::errc() || stop != end) return std::nullopt;
  return value;
}

std::optional<Rate> parse_rate(const std::string& text) {
  const size_t slash = text.find('/');
  const auto rate = parse_number(text.substr(0, slash));
  if (!rate) return std::nullopt;
  if (slash == std::string::npos) return Rate{*rate, std::nullopt};
  const auto burst = parse_number(text.substr(slash + 1));
  if (!burst) return std::nullopt;
  return Rate{*rate, burst};
}

std::string number_of(const Json& object, const char* name) {
  return std::to_string(object.value(name, uint64_t{0}));
}

std::string status_of(const Json& interface) {
  const std::string problem = interface.value("problem", "");
  if (!problem.empty()) return problem;
  return interface.value("hook", "").empty() ? "not guarded" : "guarded";
}

void print_interfaces(const Json& interfaces, bool wide) {
  std::vector<std::string> header = {"INTERFACE", "MODE"};
  if (wide) header.insert(header.end(), {"ASKED", "IFINDEX", "NOTE"});
  header.emplace_back("STATUS");
  Table table(std::move(header));
  for (const Json& interface : interfaces) {
    std::vector<std::string> row = {interface.value("ifname", ""), interface.value("hook", "")};
    if (wide) {
      const std::string asked = interface.value("mode", "");
      row.insert(row.end(), {asked.empty() ? "best" : asked, number_of(interface, "ifindex"),
                             interface.value("note", "")});
    }
    row.push_back(status_of(interface));
    table.add(std::move(row));
  }
  print(table.to_string());
}

void print_denied(const Json& denied) {
  Table table({"DENIED"});
  for (const Json& prefix : denied) table.add({prefix.get<std::string>()});
  print(table.to_string());
}

void print_destinations(const Json& destinations) {
  Table table({"DESTINATION", "RATE", "BURST", "OVERLOAD", "FROM", "PASSED", "LIMITED", "SHED"});
  for (const Json& one : destinations) {
    const bool is_limited = one.value("rate", 0U) > 0;
    table.add({one.value("destination", ""), is_limited ? number_of(one, "rate") + "/s" : "-",
               is_limited ? number_of(one, "burst") : "-",
               one.value("sheds", true) ? "shed" : "keep", one.value("origin", ""),
               number_of(one, "passed"), number_of(one, "limited"), number_of(one, "shed")});
  }
  print(table.to_string());
}

void print_counters(const Json& counters) {
  Table table({"COUNTER", "PACKETS"});
  for (const auto& [name, value] : counters.items()) {
    table.add({name, std::to_string(value.get<uint64_t>())});
  }
  print(table.to_string());
}

void print_tables(const Invocation& invocation, const Json& answer) {
  const bool wide = invocation.output == Output::kWide;
  if (invocation.verb == "guard-deny-list") return print_denied(answer["denied"]);
  if (invocation.verb == "guard-limit") return print_destinations(answer["destinations"]);
  print_interfaces(answer["interfaces"], wide);
  if (invocation.verb == "guard-list") return;
  struct Section {
    const char* name;
    void (*show)(const Json&);
  };
  for (const Section& section :
       {Section{"destinations", print_destinations}, Section{"denied", print_denied},
        Section{"counters", print_counters}}) {
    if (answer[section.name].empty()) continue;
    print("\n");
    section.show(answer[section.name]);
  }
}

int show(const Invocation& invocation) {
  Json answer;
  if (!ask_or_complain(invocation.run_dir, {{"verb", "guard-status"}}, answer)) return kExitFailed;
  answer.erase("ok");
  if (invocation.output == Output::kJson) {
    print(answer.dump(2) + "\n");
  } else if (invocation.output == Output::kYaml) {
    print(to_yaml(answer));
  } else {
    print_tables(invocation, answer);
  }
  return kExitDone;
}

int change(const Invocation& invocation, const Json& request, const std::string& done) {
  Json answer;
  if (!ask_or_complain(invocation.run_dir, request, answer)) return kExitFailed;
  print(done + "\n");
  return kExitDone;
}

int attach(const Invocation& invocation) {
  const Json request = {{"verb", "guard-attach"},
                        {"ifname", invocation.guard_ifname},
                        {"mode", invocation.guard_mode}};
  Json answer;
  if (!ask_or_complain(invocation.run_dir, request, answer)) return kExitFailed;
  const Json& interface = answer["interface"];
  const std::string note = interface.value("note", "");
  if (!note.empty()) print_warnings(Json::array({note}));
  print("guard/" + invocation.guard_ifname + " attached (" + interface.value("hook", "") + ")\n");
  return kExitDone;
}

int limit(const Invocation& invocation) {
  Json request = {{"verb", "guard-limit"}, {"destination", invocation.guard_destination}};
  if (invocation.guard_rate == "none") {
    request["remove"] = true;
    return change(invocation, request, "limit/" + invocation.guard_destination + " removed");
  }
  const std::optional<Rate> rate = parse_rate(invocation.guard_rate);
  if (!rate) {
    std::fprintf(stderr, "error: RATE: found \"%s\"; allowed: RATE, RATE/BURST, none\n",
                 invocation.guard_rate.c_str());
    return kExitUsage;
  }
  request["rate"] = rate->rate;
  if (rate->burst) request["burst"] = *rate->burst;
  request["keep"] = invocation.guard_keeps;
  return change(invocation, request, "limit/" + invocation.guard_destination + " set");
}

}  // namespace

int run_guard(const Invocation& invocation) {
  const std::string& verb = invocation.verb;
  if (verb == "guard-attach") return attach(invocation);
  if (verb == "guard-detach") {
    return change(invocation, {{"verb", verb}, {"ifname", invocation.guard_ifname}},
                  "guard/" + invocation.guard_ifname + " detached");
  }
  if (verb == "guard-deny-add" || verb == "guard-deny-del") {
    const bool is_added = verb == "guard-deny-add";
    const std::string count = std::to_string(invocation.guard_sources.size());
    return change(invocation,
                  {{"verb", "guard-deny"}, {is_added ? "add" : "remove", invocation.guard_sources}},
                  "deny list: " + count + (is_added ? " added" : " removed"));
  }
  if (verb == "guard-limit" && !invocation.guard_destination.empty()) return limit(invocation);
  return show(invocation);
}

}  // namespace np::nodectl
