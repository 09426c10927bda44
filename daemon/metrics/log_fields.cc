// SPDX-License-Identifier: Apache-2.0
#include "metrics/log_fields.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "base/field.h"
#include "metrics/json_text.h"
#include "metrics/series_name.h"
#include "metrics/span.h"

namespace np::metrics {
namespace {

using std::string;
constexpr int64_t kNsPerMs = 1'000'000;
constexpr int64_t kNsPerS = 1'000'000'000;

// 2026-11-26T10:55:30.123Z
void write_time(int64_t unix_ns, string& out) {
  const time_t seconds = unix_ns / kNsPerS;
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  out.append(text.data(), ::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S.", &parts));
  const int64_t ms = unix_ns % kNsPerS / kNsPerMs;
  out += static_cast<char>('0' + ms / 100);
  out += static_cast<char>('0' + ms / 10 % 10);
  out += static_cast<char>('0' + ms % 10);
  out += 'Z';
}

void write_ms(Duration duration, string& out) {
  append_number(out, int64_t{duration.count() / kNsPerMs});
}

void write_address(const SocketAddress& address, string& out) {
  if (address.port != 0) out += address.to_string();
}

template <std::string_view RequestTexts::*text>
void write_text(const Record& record, Duration /*offset*/, string& out) {
  out.append(record.texts.*text);
}

template <SocketAddress RequestTexts::*address>
void write_peer(const Record& record, Duration /*offset*/, string& out) {
  write_address(record.texts.*address, out);
}

void write_start(const Record& record, Duration offset, string& out) {
  write_time((record.report.started.time_since_epoch() + offset).count(), out);
}
void write_status(const Record& record, Duration /*offset*/, string& out) {
  append_number(out, uint64_t{record.report.status});
}
void write_flags(const Record& record, Duration /*offset*/, string& out) {
  out += response_flags(record.report, record.texts);
}
void write_received(const Record& record, Duration /*offset*/, string& out) {
  append_number(out, record.report.request_bytes);
}
void write_sent(const Record& record, Duration /*offset*/, string& out) {
  append_number(out, record.report.response_bytes);
}
void write_duration(const Record& record, Duration /*offset*/, string& out) {
  write_ms(record.report.ended - record.report.started, out);
}
void write_service_time(const Record& record, Duration /*offset*/, string& out) {
  const RequestReport& report = record.report;
  if (report.answered != Instant{}) write_ms(report.answered - report.sent, out);
}
void write_retries(const Record& record, Duration /*offset*/, string& out) {
  append_number(out, uint64_t{record.report.retries});
}
void write_trace_id(const Record& record, Duration /*offset*/, string& out) {
  const TraceIds& trace = record.report.trace;
  if (trace.is_on()) out += trace_id_text(trace.trace_high, trace.trace_low);
}
void write_nothing(const Record& /*record*/, Duration /*offset*/, string& /*out*/) {}

using Texts = RequestTexts;
constexpr std::array kFields = std::to_array<LogField>({
    {"START_TIME", "start_time", false, write_start},
    {"REQ(:METHOD)", "method", false, write_text<&Texts::method>},
    {"REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "path", false, write_text<&Texts::path>},
    {"REQ(:PATH)", "", false, write_text<&Texts::path>},
    {"PROTOCOL", "protocol", false, write_text<&Texts::protocol>},
    {"RESPONSE_CODE", "response_code", true, write_status},
    {"RESPONSE_FLAGS", "response_flags", false, write_flags},
    {"RESPONSE_CODE_DETAILS", "response_code_details", false, write_text<&Texts::details>},
    {"CONNECTION_TERMINATION_DETAILS", "connection_termination_details", false, write_nothing},
    {"UPSTREAM_TRANSPORT_FAILURE_REASON", "upstream_transport_failure_reason", false,
     write_nothing},
    {"BYTES_RECEIVED", "bytes_received", true, write_received},
    {"BYTES_SENT", "bytes_sent", true, write_sent},
    {"DURATION", "duration", true, write_duration},
    {"RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)", "upstream_service_time", true, write_service_time},
    {"REQ(X-FORWARDED-FOR)", "x_forwarded_for", false, write_text<&Texts::forwarded_for>},
    {"REQ(USER-AGENT)", "user_agent", false, write_text<&Texts::user_agent>},
    {"REQ(X-REQUEST-ID)", "request_id", false, write_text<&Texts::request_id>},
    {"REQ(:AUTHORITY)", "authority", false, write_text<&Texts::authority>},
    {"UPSTREAM_HOST", "upstream_host", false, write_peer<&Texts::endpoint>},
    {"UPSTREAM_CLUSTER", "upstream_cluster", false, write_text<&Texts::cluster>},
    {"UPSTREAM_LOCAL_ADDRESS", "upstream_local_address", false, write_nothing},
    {"DOWNSTREAM_LOCAL_ADDRESS", "downstream_local_address", false, write_peer<&Texts::dialled>},
    {"DOWNSTREAM_REMOTE_ADDRESS", "downstream_remote_address", false, write_peer<&Texts::client>},
    {"REQUESTED_SERVER_NAME", "requested_server_name", false, write_nothing},
    {"ROUTE_NAME", "route_name", false, write_text<&Texts::route>},
    {"POLICY", "policy", false, write_text<&Texts::object>},
    {"SUBSET", "subset", false, write_text<&Texts::subset>},
    {"RETRIES", "retries", true, write_retries},
    {"TRACE_ID", "trace_id", false, write_trace_id},
    {"SOURCE_POD", "source_pod", false, write_text<&Texts::source_pod>},
    {"SOURCE_NAMESPACE", "source_namespace", false, write_text<&Texts::source_namespace>},
    {"UPSTREAM_POD", "upstream_pod", false, write_text<&Texts::endpoint_pod>},
    {"GATEWAY", "gateway", false, write_text<&Texts::gateway>},
});

}  // namespace

std::span<const LogField> log_fields() {
  return kFields;
}

const LogField* find_log_field(std::string_view op) {
  const auto found = std::find_if(kFields.begin(), kFields.end(), [op](const LogField& field) {
    return equals_ignoring_case(field.op, op);
  });
  return found == kFields.end() ? nullptr : &*found;
}

}  // namespace np::metrics
