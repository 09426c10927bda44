// SPDX-License-Identifier: Apache-2.0
// Kernel acceleration as control sees it: what the self-test of this kernel found, the text in
// which `nodeproxyd --test-acceleration` hands that on, and AccelerationHost, which main wires. In
// a header, because kernel and nodectl share nothing else of this room. Control thread only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace np::control {

// One danger of socket redirection (docs/acceleration.md).
struct DangerResult {
  std::string name;     // "fionread"
  std::string promise;  // what a program over TCP relies on
  bool passed = false;
  std::string seen;  // one sentence, without a final stop
};

struct AccelerationReport {
  std::string release;  // of the kernel that was tested
  std::string problem;  // why the test could not be made; then there are no results
  std::vector<DangerResult> results;

  // Nothing stands against redirecting the bytes of pods.
  bool is_possible() const {
    return problem.empty() && !results.empty() &&
           std::all_of(results.begin(), results.end(), [](const auto& one) { return one.passed; });
  }
};

// "fionread, splice", or why nothing is known.
inline std::string reasons_of(const AccelerationReport& report) {
  if (!report.problem.empty()) return report.problem;
  if (report.results.empty()) return "the self-test gave no result";
  std::string text;
  for (const DangerResult& result : report.results) {
    if (!result.passed) text += (text.empty() ? "" : ", ") + result.name;
  }
  return text;
}

// "refused: fionread, splice"
inline std::string verdict_of(const AccelerationReport& report) {
  if (!report.is_possible()) return "refused: " + reasons_of(report);
  return "possible: this kernel passes; no data path is built yet";
}

struct AccelerationState {
  enum class Phase : uint8_t { kUntested, kRunning, kDone };
  Phase phase = Phase::kUntested;
  AccelerationReport report;  // when kDone
};

// The supervisor, by messages: it runs the test in a process of its own and keeps the report as
// long as it lives, which is no longer than this kernel runs.
class AccelerationHost {
 public:
  virtual ~AccelerationHost() = default;
  // Begins a test and returns at once; one that runs already goes on.
  virtual Result<void> start() = 0;
  virtual AccelerationState state() = 0;
};

inline constexpr char kReportSeparator = '\t';

inline std::string to_text(const AccelerationReport& report) {
  std::string text;
  const auto line = [&text](const std::vector<std::string_view>& parts) {
    for (size_t i = 0; i < parts.size(); ++i) {
      if (i > 0) text += kReportSeparator;
      for (const char c : parts[i]) text += c == kReportSeparator || c == '\n' ? ' ' : c;
    }
    text += '\n';
  };
  line({"release", report.release});
  if (!report.problem.empty()) line({"problem", report.problem});
  for (const DangerResult& result : report.results) {
    line({"danger", result.name, result.passed ? "passed" : "failed", result.promise, result.seen});
  }
  return text;
}

// Nothing: the text is none of to_text().
inline std::optional<AccelerationReport> parse_acceleration_report(std::string_view text) {
  AccelerationReport report;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return std::nullopt;  // cut
    std::vector<std::string> parts;
    for (size_t begin = 0; begin <= end;) {
      const size_t stop = std::min(text.find(kReportSeparator, begin), end);
      parts.emplace_back(text.substr(begin, stop - begin));
      begin = stop + 1;
    }
    text.remove_prefix(end + 1);
    constexpr size_t kPair = 2, kDanger = 5;
    if (parts.size() == kPair && parts[0] == "release") {
      report.release = std::move(parts[1]);
    } else if (parts.size() == kPair && parts[0] == "problem") {
      report.problem = std::move(parts[1]);
    } else if (parts.size() == kDanger && parts[0] == "danger" &&
               (parts[2] == "passed" || parts[2] == "failed")) {
      report.results.push_back(
          {std::move(parts[1]), std::move(parts[3]), parts[2] == "passed", std::move(parts[4])});
    } else {
      return std::nullopt;
    }
  }
  if (report.release.empty() || (report.problem.empty() && report.results.empty())) {
    return std::nullopt;
  }
  return report;
}

}  // namespace np::control
