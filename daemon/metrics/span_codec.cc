// SPDX-License-Identifier: Apache-2.0
#include "metrics/span_codec.h"

#include <array>
#include <map>
#include <vector>

#include "metrics/json_text.h"

namespace np::metrics {
namespace {

constexpr std::string_view kScope = "nodeproxy";
constexpr int kOtlpServer = 2;  // SPAN_KIND_SERVER
constexpr int kOtlpClient = 3;  // SPAN_KIND_CLIENT
constexpr int kOtlpError = 2;   // STATUS_CODE_ERROR

constexpr std::string_view kStatusAttribute = "http.response.status_code";
constexpr std::array kAttributeNames =
    std::to_array<std::pair<std::string_view, std::string_view>>({
        {"http.method", "http.request.method"},
        {"http.url", "url.full"},
        {"http.status_code", kStatusAttribute},
        {"user_agent", "user_agent.original"},
    });

void append_key(std::string& out, std::string_view key) {
  append_json(out, key);
  out += ':';
}

void append_zipkin_id(std::string& out, std::string_view key, uint64_t id) {
  append_key(out, key);
  out += '"';
  append_hex(out, id);
  out += '"';
}

void append_zipkin_address(std::string& out, const SocketAddress& address) {
  const std::string text = address.ip.to_string();
  append_key(out, text.find(':') == std::string::npos ? "ipv4" : "ipv6");
  append_json(out, text);
  out += ",\"port\":";
  append_number(out, uint64_t{address.port});
}

void append_zipkin_endpoints(std::string& out, const Span& span) {
  out += ",\"localEndpoint\":{";
  append_key(out, "serviceName");
  append_json(out, span.service);
  if (span.own.port != 0) {
    out += ',';
    append_zipkin_address(out, span.own);
  }
  out += '}';
  if (span.peer.port == 0) return;
  out += ",\"remoteEndpoint\":{";
  append_zipkin_address(out, span.peer);
  out += '}';
}

void append_zipkin_span(std::string& out, const Span& span) {
  out += "{\"traceId\":\"";
  append_hex(out, span.trace_high);
  append_hex(out, span.trace_low);
  out += "\",";
  append_zipkin_id(out, "id", span.id);
  if (span.parent != 0) {
    out += ',';
    append_zipkin_id(out, "parentId", span.parent);
  }
  out += span.kind == Span::Kind::kClient ? ",\"kind\":\"CLIENT\"" : ",\"kind\":\"SERVER\"";
  out += ",\"name\":";
  append_json(out, span.name);
  out += ",\"timestamp\":";
  append_number(out, span.start_unix_us);
  out += ",\"duration\":";
  append_number(out, span.duration_us);
  if (span.is_debug) out += ",\"debug\":true";
  append_zipkin_endpoints(out, span);
  out += ",\"tags\":{";
  bool first = true;
  for (const auto& [key, value] : span.tags) {
    if (!first) out += ',';
    first = false;
    append_key(out, key);
    append_json(out, value);
  }
  out += "}}";
}

void append_attribute(std::string& out, std::string_view key, std::string_view value) {
  out += "{\"key\":";
  append_json(out, key);
  // By the conventions an integer, which is text in this encoding, too.
  out += key == kStatusAttribute ? ",\"value\":{\"intValue\":" : ",\"value\":{\"stringValue\":";
  append_json(out, value);
  out += "}}";
}

// 64-bit numbers are strings in the JSON encoding.
void append_nanos(std::string& out, std::string_view key, int64_t us) {
  constexpr int64_t kNsPerUs = 1000;
  append_key(out, key);
  out += '"';
  append_number(out, us * kNsPerUs);
  out += '"';
}

void append_otlp_span(std::string& out, const Span& span) {
  out += "{\"traceId\":\"";
  append_hex(out, span.trace_high);
  append_hex(out, span.trace_low);
  out += "\",";
  append_zipkin_id(out, "spanId", span.id);
  if (span.parent != 0) {
    out += ',';
    append_zipkin_id(out, "parentSpanId", span.parent);
  }
  out += ",\"name\":";
  append_json(out, span.name);
  out += ",\"kind\":";
  append_number(out, int64_t{span.kind == Span::Kind::kClient ? kOtlpClient : kOtlpServer});
  out += ',';
  append_nanos(out, "startTimeUnixNano", span.start_unix_us);
  out += ',';
  append_nanos(out, "endTimeUnixNano", span.start_unix_us + span.duration_us);
  out += ",\"attributes\":[";
  bool first = true;
  for (const auto& [key, value] : span.tags) {
    if (!first) out += ',';
    first = false;
    append_attribute(out, otlp_attribute(key), value);
  }
  out += "],\"status\":{";
  if (span.is_error) {
    out += "\"code\":";
    append_number(out, int64_t{kOtlpError});
  }
  out += "}}";
}

}  // namespace

std::string_view otlp_attribute(std::string_view tag) {
  for (const auto& [from, to] : kAttributeNames) {
    if (from == tag) return to;
  }
  return tag;
}

std::string zipkin_body(std::span<const KeptSpan> spans) {
  std::string out = "[";
  for (const KeptSpan& span : spans) {
    if (out.size() > 1) out += ',';
    append_zipkin_span(out, *span);
  }
  return out += ']';
}

std::string otlp_body(std::span<const KeptSpan> spans) {
  std::map<std::string_view, std::vector<const Span*>> services;
  for (const KeptSpan& span : spans) services[span->service].push_back(span.get());
  std::string out = "{\"resourceSpans\":[";
  bool first_service = true;
  for (const auto& [service, of_service] : services) {
    if (!first_service) out += ',';
    first_service = false;
    out += "{\"resource\":{\"attributes\":[";
    append_attribute(out, "service.name", service);
    out += "]},\"scopeSpans\":[{\"scope\":{\"name\":";
    append_json(out, kScope);
    out += "},\"spans\":[";
    for (const Span* span : of_service) {
      if (span != of_service.front()) out += ',';
      append_otlp_span(out, *span);
    }
    out += "]}]}";
  }
  return out += "]}";
}

}  // namespace np::metrics
