// SPDX-License-Identifier: Apache-2.0
#include "doctor_text.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/printable.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

constexpr size_t kColumns = 80;
constexpr size_t kOkShown = 6;  // of one area
constexpr std::string_view kIndent = "        ";
constexpr std::string_view kNodectl = "nodectl ";
constexpr std::array<std::string_view, 10> kAreas = {
    "daemon",    "kernel",  "hooks", "guard",        "pins",
    "heartbeat", "sysctls", "pods",  "acceleration", "policy"};

std::string text_of(const Json& check, const char* key) {
  const auto at = check.find(key);
  return at != check.end() && at->is_string() ? at->get<std::string>() : "";
}

// `head`, then the words, broken before column 80; later lines begin under the first word. A word
// that is too long for a line stays whole.
std::string wrapped(const std::string& head, std::string_view words, std::string_view line_end) {
  const std::string margin(head.size(), ' ');
  std::string out;
  std::string line = head;
  for (size_t begin = 0; begin < words.size();) {
    const size_t end = std::min(words.find(' ', begin), words.size());
    const std::string_view word = words.substr(begin, end - begin);
    begin = end + 1;
    const bool is_first = line.size() == head.size();
    if (!is_first && line.size() + 1 + word.size() + line_end.size() > kColumns) {
      out += line + std::string(line_end) + "\n";
      line = margin + std::string(word);
      continue;
    }
    if (!is_first) line += ' ';
    line += word;
  }
  return out + line + "\n";
}

// A command goes on behind a backslash, so that it can be typed as it stands; one with quotes is
// left on one line.
std::string command_text(const std::string& command, const std::string& run_dir) {
  std::string typed = command;
  if (!run_dir.empty() && typed.starts_with(kNodectl)) {
    typed.insert(kNodectl.size(), "--run-dir " + shell_word(run_dir) + " ");
  }
  // Our own quoting leaves nothing to escape; what an answer holds otherwise is not for a terminal.
  const bool is_clean =
      std::all_of(typed.begin(), typed.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
  if (!is_clean) typed = printable(typed);
  const std::string head = std::string(kIndent) + "$ ";
  if (typed.find('\'') != std::string::npos) return head + typed + "\n";
  return wrapped(head, typed, " \\");
}

std::string check_text(const Json& check, const std::string& run_dir) {
  std::string level = text_of(check, "level");
  level.resize(std::max<size_t>(level.size(), 4), ' ');
  const std::string subject = printable(text_of(check, "subject"));
  const std::string said = subject + ": " + printable(text_of(check, "found"));
  std::string text = "  " + level + "  ";
  text = wrapped(text, said, "");
  const std::string remedy = printable(text_of(check, "remedy"));
  if (!remedy.empty()) text += wrapped(std::string(kIndent) + "-> ", remedy, "");
  const auto commands = check.find("commands");
  if (commands == check.end() || !commands->is_array()) return text;
  for (const Json& command : *commands) {
    if (command.is_string()) text += command_text(command.get<std::string>(), run_dir);
  }
  return text;
}

std::string area_text(const std::string& area, const std::vector<const Json*>& checks,
                      const std::string& run_dir, bool all) {
  std::string text = area + "\n";
  size_t good = 0;
  size_t left_out = 0;
  for (const Json* check : checks) {
    if (text_of(*check, "level") == "ok" && ++good > kOkShown && !all) {
      ++left_out;
      continue;
    }
    text += check_text(*check, run_dir);
  }
  if (left_out == 0) return text;
  return text + "  ok    " + std::to_string(left_out) + " more (-o wide shows them)\n";
}

}  // namespace

DoctorCount count_checks(const Json& checks) {
  DoctorCount count;
  for (const Json& check : checks) {
    const std::string level = text_of(check, "level");
    ++(level == "ok" ? count.ok : level == "warn" ? count.warn : count.fail);
  }
  return count;
}

std::string doctor_text(const Json& checks, const std::string& run_dir, bool all) {
  std::vector<std::string> areas(kAreas.begin(), kAreas.end());
  for (const Json& check : checks) {
    const std::string area = text_of(check, "area");
    if (std::find(areas.begin(), areas.end(), area) == areas.end()) areas.push_back(area);
  }
  std::string text;
  for (const std::string& area : areas) {
    std::vector<const Json*> mine;
    for (const Json& check : checks) {
      if (text_of(check, "area") == area) mine.push_back(&check);
    }
    if (!mine.empty()) text += area_text(printable(area), mine, run_dir, all) + "\n";
  }
  const DoctorCount count = count_checks(checks);
  return text + std::to_string(checks.size()) + " checks: " + std::to_string(count.ok) + " ok, " +
         std::to_string(count.warn) + " warn, " + std::to_string(count.fail) + " fail\n";
}

Json doctor_json(const Json& checks) {
  const DoctorCount count = count_checks(checks);
  return {{"checks", checks},
          {"summary", {{"ok", count.ok}, {"warn", count.warn}, {"fail", count.fail}}}};
}

}  // namespace np::nodectl
