// SPDX-License-Identifier: Apache-2.0
#include "metrics/series_name.h"

#include <algorithm>
#include <iterator>

namespace np::metrics {
namespace {

constexpr char kSeparator = '\x1f';
constexpr std::string_view kClusterDomain = ".svc.";

void append_label(std::string& out, std::string_view text) {
  for (const char c : text) out += c == kSeparator ? '?' : c;
}

// Registered with IANA as of 2026, and those that proxies are known to write.
constexpr uint16_t kKnownStatus[] = {
    100, 101, 102, 103, 104, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300,
    301, 302, 303, 304, 305, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408,
    409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424, 425, 426,
    428, 429, 431, 444, 451, 460, 463, 499, 500, 501, 502, 503, 504, 505, 506, 507,
    508, 509, 510, 511, 520, 521, 522, 523, 524, 525, 526, 529, 530, 561, 598, 599};

// RFC 9110, section 15: who does not know a status takes it for the x00 of its class. Endpoints
// choose their statuses, so the others are not given a series each; what a fault was asked to
// answer is told as it is.
int told_status(const RequestReport& report) {
  const uint16_t status = report.status;
  const bool is_known =
      status == report.fault_status ||
      std::binary_search(std::begin(kKnownStatus), std::end(kKnownStatus), status);
  return is_known ? status : status / 100 * 100;
}

}  // namespace

std::string response_flags(const RequestReport& report, const RequestTexts& texts) {
  std::string flags;
  if (report.delay > Duration::zero()) flags = "DI";
  if (texts.flags.empty()) return flags;
  if (!flags.empty()) flags += ',';
  return flags.append(texts.flags);
}

std::string_view name_part(std::string_view name) {
  const size_t slash = name.rfind('/');
  return slash == std::string_view::npos ? name : name.substr(slash + 1);
}

std::string_view namespace_part(std::string_view name) {
  const size_t slash = name.find('/');
  return slash == std::string_view::npos ? std::string_view() : name.substr(0, slash);
}

std::string_view source_workload(const RequestTexts& texts) {
  if (!texts.source_workload.empty()) return texts.source_workload;
  if (!texts.gateway.empty()) return name_part(texts.gateway);
  return "unknown";
}

std::string_view called_workload(const RequestTexts& texts) {
  if (!texts.endpoint_app.empty()) return texts.endpoint_app;
  if (!texts.host.empty()) return first_label(texts.host);
  return "unknown";
}

std::string_view first_label(std::string_view host) {
  return host.find(kClusterDomain) == std::string_view::npos ? host
                                                             : host.substr(0, host.find('.'));
}

std::string_view namespace_of(std::string_view host) {
  const size_t domain = host.find(kClusterDomain);
  const size_t dot = host.find('.');
  if (domain == std::string_view::npos || dot >= domain) return {};
  return host.substr(dot + 1, domain - dot - 1);
}

void write_series_name(const RequestReport& report, const RequestTexts& texts, std::string& out) {
  const std::string status = std::to_string(told_status(report));
  const std::string flags = response_flags(report, texts);
  const bool reached = report.sent != Instant{} && !texts.endpoint_pod.empty();
  SeriesName name;
  const auto set = [&name](SeriesLabel label, std::string_view text) {
    name.labels[static_cast<size_t>(label)] = text;
  };
  set(SeriesLabel::kSourceWorkload, source_workload(texts));
  set(SeriesLabel::kSourceNamespace,
      texts.gateway.empty() ? texts.source_namespace : namespace_part(texts.gateway));
  set(SeriesLabel::kSourceApp, texts.source_app);
  set(SeriesLabel::kSourceVersion, texts.source_version);
  set(SeriesLabel::kSourceService, texts.source_service);
  set(SeriesLabel::kHost, texts.host);
  set(SeriesLabel::kCluster, texts.cluster);
  set(SeriesLabel::kLegacyCluster, texts.legacy_cluster);
  set(SeriesLabel::kWorkload, called_workload(texts));
  set(SeriesLabel::kApp, texts.endpoint_app);
  set(SeriesLabel::kVersion,
      texts.endpoint_version.empty() ? texts.subset : texts.endpoint_version);
  set(SeriesLabel::kRoute, texts.route);
  set(SeriesLabel::kObject, texts.object);
  set(SeriesLabel::kStatus, status);
  set(SeriesLabel::kFlags, flags);
  set(SeriesLabel::kProtocol, report.opaque ? "tcp" : "http");
  set(SeriesLabel::kLocal, reached ? "1" : "");
  out.clear();
  for (size_t i = 0; i < kSeriesLabels; ++i) {
    if (i > 0) out += kSeparator;
    append_label(out, name.labels[i]);
  }
}

SeriesName read_series_name(std::string_view name) {
  SeriesName read;
  for (std::string_view& label : read.labels) {
    const size_t end = std::min(name.find(kSeparator), name.size());
    label = name.substr(0, end);
    if (end == name.size()) break;
    name.remove_prefix(end + 1);
  }
  return read;
}

}  // namespace np::metrics
