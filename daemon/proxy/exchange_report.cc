// SPDX-License-Identifier: Apache-2.0
// Exchange: its place in a trace, and what is told about it at its end.
#include <cstdint>
#include <new>

#include "proxy/core.h"
#include "proxy/exchange.h"
#include "proxy/exchange_teller.h"
#include "proxy/own_answer.h"

namespace np::proxy {
namespace {

constexpr uint16_t kServerError = 500;

std::string_view value_of(FieldSpan fields, std::string_view name) {
  const Field* field = find_field(fields, name);
  return field == nullptr ? std::string_view() : field->value;
}

RequestReport::Outcome outcome_in_report(EndReason reason) {
  switch (outcome_of(reason)) {
    case Outcome::kCompleted:
      return RequestReport::Outcome::kCompleted;
    case Outcome::kRefused:
      return RequestReport::Outcome::kRefused;
    case Outcome::kAborted:
      return RequestReport::Outcome::kAborted;
    case Outcome::kUncounted:
      break;
  }
  const bool whole = reason == EndReason::kTcpClosed;
  return whole ? RequestReport::Outcome::kCompleted : RequestReport::Outcome::kAborted;
}

}  // namespace

// ---- trace -----------------------------------------------------------------------------------

void Exchange::begin_trace() {
  const TraceOptions& options = core_->tracing();
  if (!options.enabled || kind_ != Kind::kRequest) return;
  story_.incoming = read_trace(request_fields_);
  const bool is_forced = !gateway_ && find_field(request_fields_, "x-envoy-force-trace") != nullptr;
  story_.trace = make_trace(story_.incoming, options, is_forced, core_->rng());
}

void Exchange::add_trace_fields() {
  if (!story_.trace.is_on()) return;
  std::array<Field, 5> fields;
  char* text = arena_.allocate(kTraceTextBytes);
  const size_t count = write_trace(story_.trace, story_.incoming, core_->tracing(), text, fields);
  out_fields_.insert(out_fields_.end(), fields.begin(), fields.begin() + count);
}

// W3C Trace Context 3.3: tracestate goes with the traceparent that it came with.
bool is_replaced_by_trace(const Story& story, std::string_view name) {
  return story.trace.is_on() && (is_trace_field(name) ||
                                 (!story.incoming.w3c && equals_ignoring_case(name, "tracestate")));
}

ClusterCounters& Exchange::stats() {
  if (cluster_ != nullptr) return core_->stats(cluster_->id);
  return core_->stats(story_.kept != nullptr ? story_.kept_ids[2] : 0);
}

// ---- report ----------------------------------------------------------------------------------

void ExchangeTeller::take_ids(RequestReport& report) const {
  const Exchange& from = exchange_;
  const Story& story = from.story_;
  if (story.kept != nullptr) {
    report.workload_id = story.kept_ids[0];
    report.route_id = story.kept_ids[1];
    report.cluster_id = story.kept_ids[2];
    report.endpoint_id = story.kept_ids[3];
    return;
  }
  report.workload_id = from.caller_.workload_id;
  report.route_id = from.match_.route != nullptr ? from.match_.route->id : 0;
  report.cluster_id = from.cluster_ != nullptr ? from.cluster_->id : 0;
  report.endpoint_id = story.endpoint != nullptr ? story.endpoint->id : 0;
}

RequestReport ExchangeTeller::numbers() const {
  const Exchange& from = exchange_;
  const Story& story = from.story_;
  RequestReport report;
  report.started = from.started_at_;
  report.ended = from.core_->now();
  report.sent = story.sent;
  report.answered = story.answered;
  report.request_bytes = story.request_bytes;
  report.response_bytes = story.response_bytes;
  take_ids(report);
  report.is_of_latest_policy = story.kept == nullptr && from.core_->is_latest(from.pin_);
  report.pod_id = from.gateway_ ? 0 : from.caller_.pod_id;
  report.opaque = from.kind_ == Exchange::Kind::kOpaque;
  report.status = report.opaque ? uint16_t{0} : from.status_;
  report.reason = static_cast<uint8_t>(reason_);
  report.outcome = outcome_in_report(reason_);
  report.gateway = from.gateway_;
  report.is_failure =
      report.outcome == RequestReport::Outcome::kAborted || report.status >= kServerError;
  report.retries = from.repeats_ + from.stale_repeats_;
  report.retries_used_up = story.retries_used_up;
  report.delay = story.delay;
  report.fault_status = story.fault_status;
  report.waited = story.waited;
  report.trace = story.trace;
  return report;
}

void ExchangeTeller::ended() const {
  RequestObserver* observer = exchange_.core_->observer();
  const bool is_mine = exchange_.kind_ == Exchange::Kind::kMirror || exchange_.probe_ != nullptr;
  if (observer != nullptr && !is_mine) observer->on_ended(numbers(), *this);
}

void ExchangeTeller::opened() const {
  if (RequestObserver* observer = exchange_.core_->observer()) {
    observer->on_opened(numbers(), *this);
  }
}

void ExchangeTeller::describe(RequestTexts& texts) const {
  const Exchange& from = exchange_;
  const Story& story = from.story_;
  if (story.kept != nullptr) {
    texts = *story.kept;
  } else {
    describe_policy(texts);
    describe_peers(texts);
  }
  texts.method = from.request_.method;
  texts.authority = from.request_.authority;
  texts.path = from.request_.target;
  const bool old = from.request_.version == http::Version::kHttp10;
  texts.protocol = old ? "HTTP/1.0" : "HTTP/1.1";
  if (from.kind_ == Exchange::Kind::kOpaque) texts.protocol = "TCP";
  const FieldSpan fields = from.request_fields_;
  texts.user_agent = value_of(fields, "user-agent");
  texts.forwarded_for = value_of(fields, "x-forwarded-for");
  const std::string_view made = from.request_id_.value;
  texts.request_id = made.empty() ? value_of(fields, "x-request-id") : made;
  texts.flags = story.retries_used_up ? "URX" : flag_of(reason_);
  texts.details = details_of(reason_);
  texts.client = from.peer_;
  texts.dialled = from.original_;
  texts.endpoint = story.remote;
}

void ExchangeTeller::describe_policy(RequestTexts& texts) const {
  texts.gateway = exchange_.caller_.gateway;
  if (const policy::Route* route = exchange_.match_.route) {
    texts.route = route->name;
    texts.object = route->object;
  }
  if (const policy::Cluster* cluster = exchange_.cluster_) {
    texts.cluster = cluster->name;
    texts.legacy_cluster = cluster->legacy_name;
    texts.host = cluster->host;
    texts.subset = cluster->subset;
  }
}

void ExchangeTeller::describe_peers(RequestTexts& texts) const {
  if (const policy::Pod* pod = exchange_.caller_.pod) {
    texts.source_pod = pod->name;
    texts.source_namespace = pod->ns;
    texts.source_workload = pod->workload.name;
    texts.source_app = pod->workload.app;
    texts.source_version = pod->workload.version;
    texts.source_service = pod->service;
  }
  if (const policy::Endpoint* endpoint = exchange_.story_.endpoint) {
    texts.endpoint_pod = endpoint->pod_name;
    texts.endpoint_app = endpoint->workload.app;
    texts.endpoint_version = endpoint->workload.version;
  }
}

void ExchangeTeller::keep_texts() const {
  if (exchange_.core_->observer() == nullptr) return;
  const RequestReport report = numbers();
  Arena& arena = exchange_.arena_;
  char* memory = arena.allocate(sizeof(RequestTexts) + alignof(RequestTexts));
  const size_t misfit = reinterpret_cast<uintptr_t>(memory) % alignof(RequestTexts);
  auto* texts = new (memory + (alignof(RequestTexts) - misfit)) RequestTexts();
  describe_policy(*texts);
  describe_peers(*texts);
  for (std::string_view RequestTexts::*text :
       {&RequestTexts::route, &RequestTexts::object, &RequestTexts::cluster,
        &RequestTexts::legacy_cluster, &RequestTexts::host, &RequestTexts::subset,
        &RequestTexts::gateway, &RequestTexts::source_pod, &RequestTexts::source_workload,
        &RequestTexts::source_namespace, &RequestTexts::source_app, &RequestTexts::source_version,
        &RequestTexts::source_service, &RequestTexts::endpoint_pod, &RequestTexts::endpoint_app,
        &RequestTexts::endpoint_version}) {
    texts->*text = arena.copy(texts->*text);
  }
  Story& story = exchange_.story_;
  story.kept = texts;
  story.kept_ids[0] = report.workload_id;
  story.kept_ids[1] = report.route_id;
  story.kept_ids[2] = report.cluster_id;
  story.kept_ids[3] = report.endpoint_id;
}

}  // namespace np::proxy
