// SPDX-License-Identifier: Apache-2.0
#include "metrics/families.h"

#include <limits>

#include "metrics/text_format.h"

namespace np::metrics {

prometheus::MetricFamily& FamilySet::family(std::string_view name, std::string_view help,
                                            prometheus::MetricType type) {
  const auto [place, is_new] = by_name_.try_emplace(std::string(name), families_.size());
  if (is_new) families_.push_back({std::string(name), std::string(help), type, {}});
  return families_[place->second];
}

void FamilySet::count(std::string_view name, std::string_view help, Labels labels, double value) {
  if (!name.ends_with("_total")) return untyped(name, help, std::move(labels), value);
  prometheus::ClientMetric metric;
  metric.label = std::move(labels);
  metric.counter.value = value;
  family(name, help, prometheus::MetricType::Counter).metric.push_back(std::move(metric));
}

void FamilySet::untyped(std::string_view name, std::string_view help, Labels labels, double value) {
  prometheus::ClientMetric metric;
  metric.label = std::move(labels);
  metric.untyped.value = value;
  family(name, help, prometheus::MetricType::Untyped).metric.push_back(std::move(metric));
}

void FamilySet::gauge(std::string_view name, std::string_view help, Labels labels, double value) {
  prometheus::ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = value;
  family(name, help, prometheus::MetricType::Gauge).metric.push_back(std::move(metric));
}

void FamilySet::histogram(std::string_view name, std::string_view help, Labels labels,
                          const HistogramValues& values) {
  prometheus::ClientMetric metric;
  metric.label = std::move(labels);
  prometheus::ClientMetric::Histogram& histogram = metric.histogram;
  histogram.sample_sum = values.sum;
  for (size_t i = 0; i < values.buckets.size(); ++i) {
    histogram.sample_count += values.buckets[i];
    const double bound =
        i < values.bounds.size() ? values.bounds[i] : std::numeric_limits<double>::infinity();
    histogram.bucket.push_back({histogram.sample_count, bound});
  }
  family(name, help, prometheus::MetricType::Histogram).metric.push_back(std::move(metric));
}

std::string FamilySet::text() {
  std::string out;
  append_text_format(families_, out);
  families_.clear();
  by_name_.clear();
  return out;
}

}  // namespace np::metrics
