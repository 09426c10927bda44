// SPDX-License-Identifier: Apache-2.0
#include "metrics/text_format.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

namespace np::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

void append_value(std::string& out, double value) {
  if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
    return;
  }
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value);
  out.append(text.data(), end.ptr);
}

void append_value(std::string& out, uint64_t value) {
  std::array<char, 24> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value);
  out.append(text.data(), end.ptr);
}

// Label values may be anything; only three bytes mean something.
void append_escaped(std::string& out, std::string_view text, bool escapes_quotes) {
  for (;;) {
    const size_t plain = text.find_first_of(escapes_quotes ? "\\\n\"" : "\\\n");
    out.append(text.substr(0, plain));
    if (plain == std::string_view::npos) return;
    out += '\\';
    out += text[plain] == '\n' ? 'n' : text[plain];
    text.remove_prefix(plain + 1);
  }
}

// `a="1",b="2"`, without braces.
void write_labels(const ClientMetric& metric, std::string& labels) {
  labels.clear();
  for (const ClientMetric::Label& label : metric.label) {
    if (!labels.empty()) labels += ',';
    labels += label.name;
    labels += "=\"";
    append_escaped(labels, label.value, true);
    labels += '"';
  }
}

std::string_view type_name(MetricType type) {
  switch (type) {
    case MetricType::Counter:
      return "counter";
    case MetricType::Gauge:
      return "gauge";
    case MetricType::Histogram:
      return "histogram";
    case MetricType::Summary:
      return "summary";
    default:
      return "untyped";
  }
}

void append_head(std::string& out, const MetricFamily& family) {
  if (!family.help.empty()) {
    out.append("# HELP ").append(family.name) += ' ';
    append_escaped(out, family.help, false);
    out += '\n';
  }
  out.append("# TYPE ").append(family.name) += ' ';
  out.append(type_name(family.type)) += '\n';
}

void append_name(std::string& out, std::string_view name, std::string_view suffix,
                 std::string_view labels) {
  out.append(name).append(suffix);
  if (!labels.empty()) out.append("{").append(labels) += '}';
  out += ' ';
}

void append_histogram(std::string& out, const std::string& name, std::string_view labels,
                      const ClientMetric::Histogram& histogram) {
  append_name(out, name, "_count", labels);
  append_value(out, histogram.sample_count);
  out += '\n';
  append_name(out, name, "_sum", labels);
  append_value(out, histogram.sample_sum);
  out += '\n';
  for (const ClientMetric::Bucket& bucket : histogram.bucket) {
    out.append(name).append("_bucket{").append(labels);
    out += labels.empty() ? "le=\"" : ",le=\"";
    append_value(out, bucket.upper_bound);
    out += "\"} ";
    append_value(out, bucket.cumulative_count);
    out += '\n';
  }
}

double value_of(const ClientMetric& metric, MetricType type) {
  if (type == MetricType::Counter) return metric.counter.value;
  return type == MetricType::Gauge ? metric.gauge.value : metric.untyped.value;
}

// A little too much, so that a long answer is not moved while it grows.
size_t bytes_of(const std::vector<MetricFamily>& families) {
  constexpr size_t kNumber = 24;  // and marks around it
  size_t bytes = 0;
  for (const MetricFamily& family : families) {
    bytes += 2 * family.name.size() + family.help.size() + 2 * kNumber;
    for (const ClientMetric& metric : family.metric) {
      size_t line = family.name.size() + 2 * kNumber;
      for (const ClientMetric::Label& label : metric.label) {
        line += label.name.size() + label.value.size() + 4;
      }
      bytes += line * std::max<size_t>(1, metric.histogram.bucket.size() + 2);
    }
  }
  return bytes;
}

}  // namespace

void append_text_format(const std::vector<MetricFamily>& families, std::string& out) {
  out.reserve(out.size() + bytes_of(families));
  std::string labels;
  for (const MetricFamily& family : families) {
    append_head(out, family);
    for (const ClientMetric& metric : family.metric) {
      write_labels(metric, labels);
      if (family.type == MetricType::Histogram) {
        append_histogram(out, family.name, labels, metric.histogram);
        continue;
      }
      append_name(out, family.name, "", labels);
      append_value(out, value_of(metric, family.type));
      out += '\n';
    }
  }
}

}  // namespace np::metrics
