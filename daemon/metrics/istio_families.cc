// SPDX-License-Identifier: Apache-2.0
// Istio's standard metrics (https://istio.io/latest/docs/reference/config/metrics/), and those of
// 0.x. A request of a captured pod is told by its source; when the called pod is on this node too,
// there is no other proxy that could tell the destination's side, so it is told here as well.
#include <array>

#include "metrics/exposition.h"

namespace np::metrics {
namespace {

constexpr const char* kUnknown = "unknown";

std::string known(std::string_view value) {
  return std::string(value.empty() ? kUnknown : value);
}

std::span<const double> size_bounds() {
  static const std::vector<double> bounds(kSizeBoundsBytes.begin(), kSizeBoundsBytes.end());
  return bounds;
}

HistogramValues request_sizes(const RequestCounters& counters) {
  return {size_bounds(), counters.request_size_buckets, as_double(counters.request_bytes)};
}

HistogramValues response_sizes(const RequestCounters& counters) {
  return {size_bounds(), counters.response_size_buckets, as_double(counters.response_bytes)};
}

// ---- today -----------------------------------------------------------------------------------

const std::vector<SeriesLabel> kIstioLabels = {SeriesLabel::kSourceWorkload,
                                               SeriesLabel::kSourceNamespace,
                                               SeriesLabel::kSourceApp,
                                               SeriesLabel::kSourceVersion,
                                               SeriesLabel::kHost,
                                               SeriesLabel::kWorkload,
                                               SeriesLabel::kApp,
                                               SeriesLabel::kVersion,
                                               SeriesLabel::kStatus,
                                               SeriesLabel::kFlags,
                                               SeriesLabel::kProtocol};

void add_side(Labels& labels, const std::string& side, std::string_view workload,
              const std::string& ns, std::string_view app, std::string_view version) {
  const auto put = [&labels, &side](const char* name, std::string value) {
    labels.push_back({side + name, std::move(value)});
  };
  put("_workload", known(workload));
  put("_workload_namespace", ns);
  put("_principal", kUnknown);
  put("_app", known(app));
  put("_version", known(version));
  put("_cluster", "Kubernetes");
  put("_canonical_service", known(app.empty() ? workload : app));
  put("_canonical_revision", version.empty() ? "latest" : std::string(version));
}

Labels istio_labels(const GroupedRequests::Group& group, bool is_destination) {
  const std::string_view host = group[4];
  const std::string ns = known(namespace_of(host));
  Labels labels = {{"reporter", is_destination ? "destination" : "source"}};
  add_side(labels, "source", group[0], known(group[1]), group[2], group[3]);
  add_side(labels, "destination", group[5], ns, group[6], group[7]);
  labels.push_back({"destination_service", known(host)});
  labels.push_back({"destination_service_name", known(first_label(host))});
  labels.push_back({"destination_service_namespace", ns});
  labels.push_back({"request_protocol", std::string(group[10])});
  labels.push_back({"response_flags", group[9].empty() ? "-" : std::string(group[9])});
  labels.push_back({"connection_security_policy", is_destination ? "none" : kUnknown});
  return labels;
}

void add_http(const GroupedRequests::Group& group, Labels labels, FamilySet& out) {
  labels.push_back({"response_code", std::string(group[8])});
  labels.push_back({"grpc_response_status", ""});
  const RequestCounters& counters = group.counters;
  out.count("istio_requests_total", "Requests by caller, service and answer", labels,
            as_double(counters.requests));
  out.histogram(
      "istio_request_duration_milliseconds", "Duration of requests", labels,
      {kDurationBoundsMs, counters.duration_buckets, as_double(counters.duration_us) * kMsPerUs});
  out.histogram("istio_request_bytes", "Bytes of request bodies", labels, request_sizes(counters));
  out.histogram("istio_response_bytes", "Bytes of response bodies", std::move(labels),
                response_sizes(counters));
}

void add_tcp(const GroupedRequests::Group& group, const Labels& labels, FamilySet& out) {
  const RequestCounters& counters = group.counters;
  const auto count = [&](const char* name, const char* help, uint64_t value) {
    out.count(name, help, labels, as_double(value));
  };
  count("istio_tcp_connections_opened_total", "Opaque connections opened", counters.opened);
  count("istio_tcp_connections_closed_total", "Opaque connections closed", counters.requests);
  count("istio_tcp_received_bytes_total", "Bytes from clients", counters.request_bytes);
  count("istio_tcp_sent_bytes_total", "Bytes to clients", counters.response_bytes);
}

void add_side_of(const GroupedRequests& requests, bool is_destination, FamilySet& out) {
  for (const auto& [key, group] : requests.groups()) {
    Labels labels = istio_labels(group, is_destination);
    if (group[10] == "tcp") {
      add_tcp(group, labels, out);
    } else {
      add_http(group, std::move(labels), out);
    }
  }
}

}  // namespace

void add_istio(const SeriesSums& sums, FamilySet& out) {
  GroupedRequests by_source(kIstioLabels), by_destination(kIstioLabels);
  for (const auto& [name, counters] : sums.requests) {
    const SeriesName labels = labels_of(name);
    by_source.add(labels, counters);
    if (labels[SeriesLabel::kLocal] == "1") by_destination.add(labels, counters);
  }
  add_side_of(by_source, false, out);
  add_side_of(by_destination, true, out);
}

void add_istio_before_1(const SeriesSums& sums, FamilySet& out) {
  GroupedRequests requests({SeriesLabel::kSourceService, SeriesLabel::kSourceWorkload,
                            SeriesLabel::kSourceVersion, SeriesLabel::kHost, SeriesLabel::kVersion,
                            SeriesLabel::kStatus});
  for (const auto& [name, counters] : sums.requests) {
    const SeriesName labels = labels_of(name);
    if (labels[SeriesLabel::kProtocol] == "http") requests.add(labels, counters);
  }
  for (const auto& [key, group] : requests.groups()) {
    const RequestCounters& counters = group.counters;
    const Labels labels = {{"source_service", known(group[0].empty() ? group[1] : group[0])},
                           {"source_version", known(group[2])},
                           {"destination_service", known(group[3])},
                           {"destination_version", known(group[4])},
                           {"response_code", std::string(group[5])}};
    static const std::vector<double> bounds = [] {
      std::vector<double> seconds;
      for (const double ms : kDurationBoundsMs) seconds.push_back(ms / 1000);
      return seconds;
    }();
    out.count("istio_request_count", "Requests (the name of Istio 0.x)", labels,
              as_double(counters.requests));
    out.histogram(
        "istio_request_duration", "Seconds of requests (the name of Istio 0.x)", labels,
        {bounds, counters.duration_buckets, as_double(counters.duration_us) * kSecondsPerUs});
    out.histogram("istio_request_size", "Bytes of request bodies (the name of Istio 0.x)", labels,
                  request_sizes(counters));
    out.histogram("istio_response_size", "Bytes of response bodies (the name of Istio 0.x)", labels,
                  response_sizes(counters));
  }
}

}  // namespace np::metrics
