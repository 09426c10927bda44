// SPDX-License-Identifier: Apache-2.0
#include "metrics/span.h"

#include <algorithm>
#include <charconv>

#include "metrics/json_text.h"
#include "metrics/series_name.h"

namespace np::metrics {
namespace {

// Of each text that a client chooses (of paths it is Envoy's max_path_tag_length): the trace book
// keeps thousands of spans.
constexpr size_t kClientTextBytesMax = 256;
constexpr uint16_t kServerErrorStatus = 500;

std::string with_namespace(std::string_view name, std::string_view ns) {
  std::string text(name);
  if (!ns.empty()) text.append(".").append(ns);
  return text;
}

std::string service_of_caller(const RequestTexts& texts) {
  const bool is_gateway = !texts.gateway.empty();
  return with_namespace(source_workload(texts),
                        is_gateway ? namespace_part(texts.gateway) : texts.source_namespace);
}

// Traffic that passes through has no host; a span of no service is found by nobody.
std::string service_of_called(const RequestTexts& texts) {
  if (texts.host.empty()) return std::string(texts.cluster.empty() ? "unknown" : texts.cluster);
  return with_namespace(first_label(texts.host), namespace_of(texts.host));
}

std::string_view as_told(std::string_view text) {
  return text.substr(0, kClientTextBytesMax);
}

std::string number(uint64_t value) {
  std::string text;
  append_number(text, value);
  return text;
}

int64_t to_us(Duration duration) {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

std::string url_of(const RequestTexts& texts) {
  std::string url = "http://";
  url.append(as_told(texts.authority));
  if (texts.path.empty() || texts.path.front() != '/') return url;
  return url.append(as_told(texts.path));
}

class TagWriter {
 public:
  explicit TagWriter(Span& span) : span_(span) {}
  void add(const char* key, std::string_view value) { span_.tags.emplace_back(key, value); }
  void add_if(const char* key, std::string_view value) {
    if (!value.empty()) add(key, value);
  }

 private:
  Span& span_;
};

// What every span of the request has.
void add_common_tags(const Record& record, std::string_view node, Span& span) {
  const RequestReport& report = record.report;
  const RequestTexts& texts = record.texts;
  TagWriter tags(span);
  tags.add("component", "proxy");
  tags.add("node_id", node);
  tags.add("http.method", as_told(texts.method));
  tags.add("http.url", url_of(texts));
  tags.add("http.protocol", texts.protocol);
  tags.add("http.status_code", number(report.status));
  tags.add_if("user_agent", as_told(texts.user_agent));
  tags.add_if("guid:x-request-id", as_told(texts.request_id));
  tags.add("request_size", number(report.request_bytes));
  tags.add("response_size", number(report.response_bytes));
  const std::string flags = response_flags(report, texts);
  tags.add("response_flags", flags.empty() ? "-" : flags);
  if (span.is_error) tags.add("error", "true");
}

// What the policy decided; on the caller's span.
void add_decision_tags(const Record& record, Span& span) {
  const RequestReport& report = record.report;
  const RequestTexts& texts = record.texts;
  TagWriter tags(span);
  tags.add_if("upstream_cluster", texts.cluster);
  tags.add_if("upstream_cluster.name", texts.cluster);
  tags.add("downstream_cluster", service_of_caller(texts));
  tags.add_if("response_code_details", texts.details);
  tags.add_if("nodeproxy.object", texts.object);
  tags.add_if("nodeproxy.route", texts.route);
  tags.add_if("nodeproxy.subset", texts.subset);
  tags.add_if("nodeproxy.source_pod", texts.source_pod);
  tags.add_if("nodeproxy.endpoint_pod", texts.endpoint_pod);
  if (texts.endpoint.port != 0) tags.add("nodeproxy.endpoint", texts.endpoint.to_string());
  if (report.retries > 0) tags.add("nodeproxy.retries", number(report.retries));
  if (report.waited) tags.add("nodeproxy.waited", "true");
  if (report.delay > Duration::zero()) {
    tags.add("fault.delay_ms", number(static_cast<uint64_t>(to_us(report.delay)) / 1000));
  }
  if (report.fault_status == RequestReport::kFaultReset) {
    tags.add("fault.abort", "reset");
  } else if (report.fault_status != 0) {
    tags.add("fault.abort", number(report.fault_status));
  }
}

Span begin_span(const Record& record, Duration unix_offset, Instant from) {
  const RequestReport& report = record.report;
  Span span;
  span.trace_high = report.trace.trace_high;
  span.trace_low = report.trace.trace_low;
  span.is_sampled = report.trace.sampled;
  span.is_debug = report.trace.debug;
  span.is_error = report.is_failure || report.status >= kServerErrorStatus;
  span.name = record.texts.route.empty() ? "default-route" : record.texts.route;
  span.start_unix_us = to_us(from.time_since_epoch() + unix_offset);
  // Zipkin: a duration is positive.
  span.duration_us = std::max<int64_t>(1, to_us(report.ended - from));
  return span;
}

}  // namespace

std::string trace_id_text(uint64_t high, uint64_t low) {
  std::string text;
  append_hex(text, high);
  append_hex(text, low);
  return text;
}

bool parse_trace_id(std::string_view text, uint64_t& high, uint64_t& low) {
  constexpr size_t kHexDigits = 16;
  constexpr int kHex = 16;
  if (text.size() != kHexDigits && text.size() != 2 * kHexDigits) return false;
  const auto read = [](std::string_view part, uint64_t& value) {
    const auto end = std::from_chars(part.data(), part.data() + part.size(), value, kHex);
    return end.ec == std::errc() && end.ptr == part.data() + part.size();
  };
  high = 0;
  if (text.size() > kHexDigits && !read(text.substr(0, kHexDigits), high)) return false;
  return read(text.substr(text.size() - kHexDigits), low);
}

std::vector<KeptSpan> kept(const SpanBatch& batch) {
  std::vector<KeptSpan> spans;
  for (const Span& span : *batch) spans.emplace_back(batch, &span);
  return spans;
}

void make_spans(const Record& record, Duration unix_offset, std::string_view node,
                std::vector<Span>& out) {
  const RequestReport& report = record.report;
  const RequestTexts& texts = record.texts;
  Span caller = begin_span(record, unix_offset, report.started);
  caller.id = report.trace.client_span;
  caller.parent = report.trace.parent_span;
  caller.kind = report.gateway ? Span::Kind::kServer : Span::Kind::kClient;
  caller.service = service_of_caller(texts);
  caller.own = report.gateway ? texts.dialled : texts.client;
  caller.peer = report.gateway ? texts.client : texts.dialled;
  add_common_tags(record, node, caller);
  add_decision_tags(record, caller);
  out.push_back(std::move(caller));
  if (report.sent == Instant{}) return;

  Span called = begin_span(record, unix_offset, report.sent);
  called.id = report.trace.server_span;
  called.parent = report.trace.client_span;
  called.kind = Span::Kind::kServer;
  called.service = service_of_called(texts);
  called.own = texts.endpoint;
  called.peer = texts.client;
  add_common_tags(record, node, called);
  TagWriter tags(called);
  tags.add_if("nodeproxy.endpoint_pod", texts.endpoint_pod);
  tags.add_if("nodeproxy.version", texts.endpoint_version);
  tags.add("peer.address", texts.client.to_string());
  out.push_back(std::move(called));
}

}  // namespace np::metrics
