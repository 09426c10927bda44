// SPDX-License-Identifier: Apache-2.0
// FamilySet: metric families in the order in which they were first named, for one scrape. A value;
// lives on the stack of the scraping thread.
#pragma once

#include <prometheus/metric_family.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace np::metrics {

using Labels = std::vector<prometheus::ClientMetric::Label>;

// What is counted in integers is told as Prometheus wants it.
inline constexpr double kMsPerUs = 1e-3;
inline constexpr double kSecondsPerUs = 1e-6;
inline double as_double(uint64_t value) {
  return static_cast<double>(value);
}

// Buckets are not cumulative; the last one has no bound.
struct HistogramValues {
  std::span<const double> bounds;
  std::span<const uint64_t> buckets;
  double sum = 0;
};

class FamilySet {
 public:
  // Goes up only. Of type counter when its name says so ("_total"), else untyped: the names of
  // Envoy and of Istio 0.x do not, and a checker takes the type at its word.
  void count(std::string_view name, std::string_view help, Labels labels, double value);
  void gauge(std::string_view name, std::string_view help, Labels labels, double value);
  // Of a name that says what it is not: Envoy's membership_total is a gauge.
  void untyped(std::string_view name, std::string_view help, Labels labels, double value);
  void histogram(std::string_view name, std::string_view help, Labels labels,
                 const HistogramValues& values);

  // The text format of Prometheus, version 0.0.4. Empties the set.
  std::string text();

 private:
  prometheus::MetricFamily& family(std::string_view name, std::string_view help,
                                   prometheus::MetricType type);
  std::vector<prometheus::MetricFamily> families_;
  std::unordered_map<std::string, size_t> by_name_;
};

}  // namespace np::metrics
