// SPDX-License-Identifier: Apache-2.0
// The name of a series of requests in a SeriesStore: its labels, joined by a control byte. Written
// when a kind of request is seen for the first time, read at every scrape.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "base/request_report.h"

namespace np::metrics {

enum class SeriesLabel : uint8_t {
  kSourceWorkload,
  kSourceNamespace,
  kSourceApp,
  kSourceVersion,
  kSourceService,
  kHost,
  kCluster,
  kLegacyCluster,
  kWorkload,
  kApp,
  kVersion,
  kRoute,
  kObject,
  kStatus,
  kFlags,
  kProtocol,  // "http" or "tcp"
  kLocal,     // "1": the endpoint is a pod of this node, and was asked
  kCount,
};
inline constexpr size_t kSeriesLabels = static_cast<size_t>(SeriesLabel::kCount);

struct SeriesName {
  std::array<std::string_view, kSeriesLabels> labels{};
  std::string_view operator[](SeriesLabel label) const {
    return labels[static_cast<size_t>(label)];
  }
};

// Response flags of a report: "DI", "DI,FI"; empty: none.
std::string response_flags(const RequestReport& report, const RequestTexts& texts);
// "ns/name" -> "name".
std::string_view name_part(std::string_view name);
std::string_view namespace_part(std::string_view name);
// Who called: the pod's app, its name, the gateway's name, or "unknown".
std::string_view source_workload(const RequestTexts& texts);
// Who was called: the endpoint's app, or the service's first label.
std::string_view called_workload(const RequestTexts& texts);
// "ratings.default.svc.cluster.local" -> "ratings" and "default".
std::string_view first_label(std::string_view host);
std::string_view namespace_of(std::string_view host);

void write_series_name(const RequestReport& report, const RequestTexts& texts, std::string& out);
// Views into `name`; labels that are missing stay empty. "overflow" stays a single label.
SeriesName read_series_name(std::string_view name);

}  // namespace np::metrics
