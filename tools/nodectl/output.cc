// SPDX-License-Identifier: Apache-2.0
#include "output.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/printable.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

constexpr size_t kGap = 3;
constexpr uint64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr uint64_t kMinute = 60;
constexpr uint64_t kHour = 60 * kMinute;
constexpr uint64_t kDay = 24 * kHour;

const std::string& shown(const std::string& cell) {
  static const std::string none = "<none>";
  return cell.empty() ? none : cell;
}

std::string quoted(const Json& scalar) {
  return scalar.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// A key of a policy or a label mostly is a plain word; between quotes any text is a key.
std::string key_text(const std::string& key) {
  constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
  constexpr std::string_view kOthers = "0123456789-./";
  const auto is_plain = [&](char c) {
    return kLetters.find(c) != std::string_view::npos || kOthers.find(c) != std::string_view::npos;
  };
  const bool is_word = !key.empty() && kLetters.find(key.front()) != std::string_view::npos &&
                       std::all_of(key.begin(), key.end(), is_plain);
  return is_word ? key : quoted(Json(key));
}

void append_yaml(std::string& out, const Json& value, const std::string& indent) {
  if (value.is_object() && !value.empty()) {
    for (const auto& [key, item] : value.items()) {
      const bool is_block = item.is_structured() && !item.empty();
      out += indent + key_text(key) + ":" + (is_block ? "\n" : " " + quoted(item) + "\n");
      if (is_block) append_yaml(out, item, item.is_array() ? indent : indent + "  ");
    }
    return;
  }
  for (const Json& item : value) {
    if (!item.is_structured() || item.empty()) {
      out += indent + "- " + quoted(item) + "\n";
      continue;
    }
    std::string block;
    append_yaml(block, item, indent + "  ");
    block.replace(indent.size(), 2, "- ");
    out += block;
  }
}

}  // namespace

std::string Table::to_string() const {
  std::vector<size_t> widths(rows_.front().size(), 0);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], shown(row[i]).size());
  }
  std::string text;
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string& cell = shown(row[i]);
      text += cell;
      if (i + 1 < row.size()) text.append(widths[i] + kGap - cell.size(), ' ');
    }
    text += '\n';
  }
  return text;
}

std::string age_text(uint64_t created_unix_ns, uint64_t now_unix_ns) {
  const uint64_t seconds =
      now_unix_ns > created_unix_ns ? (now_unix_ns - created_unix_ns) / kNanosecondsPerSecond : 0;
  const auto two = [](uint64_t big, const char* big_unit, uint64_t small, const char* small_unit) {
    std::string text = std::to_string(big) + big_unit;
    return small == 0 ? text : text + std::to_string(small) + small_unit;
  };
  if (seconds < 2 * kMinute) return std::to_string(seconds) + "s";
  if (seconds < 10 * kMinute) return two(seconds / kMinute, "m", seconds % kMinute, "s");
  if (seconds < 3 * kHour) return std::to_string(seconds / kMinute) + "m";
  if (seconds < 8 * kHour) return two(seconds / kHour, "h", seconds % kHour / kMinute, "m");
  if (seconds < 2 * kDay) return std::to_string(seconds / kHour) + "h";
  if (seconds < 8 * kDay) return two(seconds / kDay, "d", seconds % kDay / kHour, "h");
  return std::to_string(seconds / kDay) + "d";
}

std::string time_text(uint64_t unix_ns) {
  if (unix_ns == 0) return "<none>";
  const auto seconds = static_cast<time_t>(unix_ns / kNanosecondsPerSecond);
  tm broken{};
  ::gmtime_r(&seconds, &broken);
  char text[32];
  const size_t length = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &broken);
  return std::string(text, length);
}

std::string duration_text(int64_t us) {
  constexpr int64_t kMs = 1000;
  constexpr int64_t kSecond = 1000 * kMs;
  std::array<char, 32> text{};
  if (us < kMs) {
    std::snprintf(text.data(), text.size(), "%lldus", static_cast<long long>(us));
  } else if (us < kSecond) {
    std::snprintf(text.data(), text.size(), "%.1fms", static_cast<double>(us) / kMs);
  } else {
    std::snprintf(text.data(), text.size(), "%.2fs", static_cast<double>(us) / kSecond);
  }
  return text.data();
}

std::string to_yaml(const Json& value) {
  std::string text;
  append_yaml(text, value, "");
  return text;
}

void print(const std::string& text) {
  const std::string shown = with_unseen_escaped(text);
  std::fwrite(shown.data(), 1, shown.size(), stdout);
}

void complain(const std::string& text) {
  std::fprintf(stderr, "%s\n", with_unseen_escaped(text).c_str());
}

void print_warnings(const Json& warnings) {
  for (const Json& warning : warnings) {
    complain("Warning: " + warning.get<std::string>());
  }
}

}  // namespace np::nodectl
