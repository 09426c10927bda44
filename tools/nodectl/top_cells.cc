// SPDX-License-Identifier: Apache-2.0
#include "top_cells.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "output.h"

namespace np::nodectl {
namespace {

constexpr double kKilo = 1000;
constexpr double kAll = 100;

std::string format(const char* pattern, double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), pattern, value);
  return text.data();
}

}  // namespace

std::string rate_text(double value) {
  constexpr double kSmallest = 0.1;
  constexpr double kShownWhole = 99.95;
  if (value <= 0) return "0";
  if (value < kSmallest) return "<0.1";
  return value < kShownWhole ? format("%.1f", value) : count_text(value);
}

std::string count_text(double value) {
  constexpr double kWholeMax = 99'999;
  constexpr std::array kUnits = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  for (; value > kWholeMax && unit + 1 < kUnits.size(); ++unit) value /= kKilo;
  return format("%.0f", value) + kUnits[unit];
}

std::string share_text(double percent) {
  constexpr double kSteps = 10;
  if (percent < 0) return "-";
  if (percent >= kAll) return "100";
  return format("%.1f", std::floor(percent * kSteps) / kSteps);
}

std::string latency_text(double ms) {
  constexpr double kShownTenths = 9.95;
  if (ms < 0) return "-";
  if (std::isinf(ms)) return ">60s";
  if (std::round(ms) < kKilo) return format(ms < kShownTenths ? "%.1fms" : "%.0fms", ms);
  return format("%.1fs", ms / kKilo);
}

std::string bytes_text(double bytes) {
  constexpr std::array kUnits = {"", "K", "M", "G", "T", "P"};
  constexpr double kShownTenths = 9.95;
  size_t unit = 0;
  for (; std::round(bytes) >= kKilo && unit + 1 < kUnits.size(); ++unit) bytes /= kKilo;
  if (unit == 0 && bytes > 0 && bytes < 1) return "<1";
  return format(bytes < kShownTenths && unit > 0 ? "%.1f" : "%.0f", bytes) + kUnits[unit];
}

std::string lasting_text(uint64_t ms) {
  constexpr uint64_t kMinute = 60'000;
  constexpr uint64_t kUsPerMs = 1000;
  constexpr uint64_t kNsPerMs = 1'000'000;
  if (ms < kMinute) return duration_text(static_cast<int64_t>(ms * kUsPerMs));
  return age_text(0, ms * kNsPerMs);
}

std::string visible(const std::string& text) {
  constexpr const char* kDigits = "0123456789abcdef";
  constexpr unsigned char kDelete = 0x7f;
  constexpr unsigned kNibble = 4;
  constexpr unsigned kLow = 0xf;
  std::string shown;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= ' ' && byte < kDelete) {
      shown += c;
      continue;
    }
    shown += "\\x";
    shown += kDigits[byte >> kNibble];
    shown += kDigits[byte & kLow];
  }
  return shown;
}

std::string fitted(const std::string& cell, size_t width, bool is_left) {
  if (cell.size() > width) return cell.substr(0, width - 1) + "~";
  const std::string blanks(width - cell.size(), ' ');
  return is_left ? cell + blanks : blanks + cell;
}

}  // namespace np::nodectl
