// SPDX-License-Identifier: Apache-2.0
// Exchange, phase Decide: from a request head to a route, a fault, or an answer of our own.
#include <algorithm>

#include "policy/decide.h"
#include "policy/request_target.h"
#include "proxy/core.h"
#include "proxy/exchange.h"

namespace np::proxy {
// ---- beginnings ------------------------------------------------------------------------------

void Exchange::begin_request(Core& core, Connection& downstream, http::StreamId stream,
                             const http::Head& head, bool whole) {
  core_ = &core;
  kind_ = Kind::kRequest;
  downstream_ = downstream.id();
  stream_ = stream;
  pin_ = core.pin_snapshot();
  started_at_ = last_activity_ = core.now();
  gateway_ = !downstream.accepted.captured;
  original_ = downstream.accepted.local;
  peer_ = downstream.accepted.peer;
  dialled_port_ = original_.port;
  ++core.counters().downstream_rq_started;
  core.change_active_requests(1);
  {
    FlowUpdate flow(*downstream.record, core.now());
    ++flow->started;
  }
  prepare_timers();
  copy_request(head);
  request_complete_ = head.body == http::BodyKind::kNone;
  end_in_sight_ = whole;
  begin_trace();
  enter_decide();
}

// Origins tell mirrored requests by the host, as with Envoy: "-shadow" before the port. A bracketed
// address cannot take it.
std::string_view Exchange::shadow_authority(std::string_view authority) {
  constexpr std::string_view kSuffix = "-shadow";
  if (authority.starts_with('[')) return authority;
  const size_t host_bytes = std::min(authority.find(':'), authority.size());
  char* text = arena_.allocate(authority.size() + kSuffix.size());
  char* end = std::copy_n(authority.begin(), host_bytes, text);
  end = std::copy(kSuffix.begin(), kSuffix.end(), end);
  std::copy(authority.begin() + host_bytes, authority.end(), end);
  return {text, authority.size() + kSuffix.size()};
}

void Exchange::begin_mirror(Core& core, const Exchange& original, const policy::Cluster& cluster) {
  core_ = &core;
  kind_ = Kind::kMirror;
  pin_ = core.pin_again(original.pin_);
  started_at_ = last_activity_ = core.now();
  gateway_ = original.gateway_;
  original_ = original.original_;
  peer_ = original.peer_;
  dialled_port_ = original.dialled_port_;
  caller_ = original.caller_;
  ++core.counters().mirror_started;
  prepare_timers();
  copy_request(original.request_);
  request_.authority = shadow_authority(request_.authority);
  request_.expect_continue = false;
  request_.upgrade = {};
  authority_ = arena_.copy(original.authority_);
  path_ = arena_.copy(original.path_);
  query_ = arena_.copy(original.query_);
  has_query_ = original.has_query_;
  match_ = original.match_;
  choice_ = original.choice_;
  cluster_ = &cluster;
  for (const Slice& slice : original.body_.kept()) body_.append(slice, true, core.blocks());
  request_complete_ = true;
  terms_ = original.terms_;
  const Duration timeout =
      terms_.timeout > Duration::zero() ? terms_.timeout : core.limits().mirror_timeout;
  if (timeout > Duration::zero()) {
    core.timers().arm(timers_[static_cast<size_t>(ExchangeTimer::kRoute)], core.now() + timeout);
  }
  arm_idle_timer();
  enter_acquire();
}

void Exchange::prepare_timers() {
  for (size_t i = 0; i < kExchangeTimerCount; ++i) {
    timers_[i].slot = slab_slot_;
    timers_[i].owner = Timer::Owner::kExchange;
    timers_[i].which = static_cast<uint8_t>(i);
  }
}

// ---- Decide ----------------------------------------------------------------------------------

void Exchange::enter_decide() {
  arm_idle_timer();
  if (request_.method == "CONNECT") {
    enter_finish(EndReason::kMethodRefused);
    return;
  }
  // RFC 9110 7.6.2: the last proxy answers itself. A TRACE would show fields meant for us only.
  if (forwards_left() == 0) {
    if (request_.method == "TRACE") status_ = 405;
    enter_finish(EndReason::kMaxForwards);
    return;
  }
  const policy::TargetParts target = policy::normalize_target(request_.target, out_target_);
  if (!target.valid) {
    enter_finish(EndReason::kBadPath);
    return;
  }
  // Scratch strings are reused for the outgoing head: what must live goes to the arena.
  path_ = target.path.data() == out_target_.data() ? arena_.copy(target.path) : target.path;
  query_ = target.query;
  has_query_ = target.has_query;
  const std::string_view authority =
      policy::canonical_authority(request_.authority, "http", out_authority_);
  authority_ = authority.data() == out_authority_.data() ? arena_.copy(authority) : authority;
  if (!find_route()) return;
  choose_cluster();
  if (core_->refuses_requests()) {
    ++core_->counters().overload_rq_refused;
    enter_finish(EndReason::kOverloaded);
    return;
  }
  const policy::Route& route = *match_.route;
  terms_ = gateway_ ? terms_of_route(route)
                    : terms_for_caller(route, request_fields_, core_->limits().caller_retries_max);
  // Bodies are kept only for those who may need them again.
  if (terms_.retries > 0 || !route.mirrors.empty()) {
    body_.keep(core_->limits().kept_body_bytes);
  }
  choose_fault();
  if (!inject_delay()) after_delay();
}

policy::RequestView Exchange::request_view() const {
  policy::RequestView view;
  view.method = request_.method;
  view.scheme = "http";
  view.authority = authority_;
  view.path = path_;
  view.query = query_;
  view.fields = request_fields_;
  view.port = dialled_port_;
  view.dialled = original_.ip;
  return view;
}

// Looks the service up at every request, so that a policy change acts on kept connections too.
bool Exchange::find_route() {
  if (pin_ == nullptr) {
    enter_finish(EndReason::kNoRoute);
    return false;
  }
  const policy::Snapshot& snapshot = *pin_->snapshot;
  const policy::Way way = gateway_ ? policy::find_gateway_way(snapshot, original_, authority_)
                                   : policy::find_captured_way(snapshot, original_, authority_);
  caller_ = gateway_ ? policy::gateway_caller(way, peer_.ip)
                     : policy::captured_caller(snapshot, peer_.ip);
  if (way.listener != nullptr) service_id_ = original_.port;  // names the way for the loop guard
  if (way.port != nullptr) service_id_ = way.port->service_id;
  if (is_loop()) {
    enter_finish(EndReason::kLoop);
    return false;
  }
  if (!way.is_covered) ++core_->counters().passthrough;
  match_ = policy::find_route(way, request_view(), caller_);
  if (match_.route == nullptr) {
    ++core_->counters().no_route;
    enter_finish(EndReason::kNoRoute);
    return false;
  }
  FlowUpdate flow(*core_->find(downstream_)->record, core_->now());
  flow->route_id = match_.route->id;
  if (!gateway_ && caller_.pod_id != 0) flow->pod_id = caller_.pod_id;
  if (!gateway_ && service_id_ != 0) flow->service_id = service_id_;
  return true;
}

// One draw per request over the sum of weights, or the same point for the same person; a repeat
// stays in its cluster.
void Exchange::choose_cluster() {
  const policy::Route& route = *match_.route;
  uint64_t point = 0;
  if (policy::is_split(route)) {
    const auto sticky = policy::sticky_point(route, request_view(), caller_);
    point = sticky ? *sticky : core_->rng().next() % route.total_weight;
  }
  choice_ = policy::cluster_at(route, point);
  if (choice_ != nullptr) cluster_ = choice_->cluster;
}

bool Exchange::draw(uint32_t per_million) {
  return core_->rng().chance(per_million, policy::kPerMillion);
}

bool Exchange::answer_preflight() {
  const policy::Route& route = *match_.route;
  const auto allowed = policy::answers_preflight(route, request_view());
  if (!allowed) return false;
  if (*allowed) {
    const policy::Cors& cors = *route.cors;
    const Field* origin = find_field(request_fields_, "origin");
    out_fields_.push_back({"access-control-allow-origin", origin->value});
    if (!cors.allow_methods.empty()) {
      out_fields_.push_back({"access-control-allow-methods", cors.allow_methods});
    }
    if (!cors.allow_headers.empty()) {
      out_fields_.push_back({"access-control-allow-headers", cors.allow_headers});
    }
    if (cors.max_age) {
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(*cors.max_age).count();
      out_fields_.push_back({"access-control-max-age", arena_.copy(std::to_string(seconds))});
    }
    if (cors.allow_credentials.value_or(false)) {
      out_fields_.push_back({"access-control-allow-credentials", "true"});
    }
  }
  answer(200, {}, {});
  enter_finish(EndReason::kPreflight);
  return true;
}

// Redirects and direct responses.
void Exchange::answer_route() {
  const policy::Route& route = *match_.route;
  apply_ops(route.response_headers, false);
  if (route.action == policy::Route::Action::kRedirect && route.redirect) {
    const std::string location = policy::redirect_location(match_, request_view());
    out_fields_.push_back({"location", arena_.copy(location)});
    add_cors_fields();
    answer(route.redirect->status, {}, {});
    enter_finish(EndReason::kRedirect);
    return;
  }
  if (route.direct_response) {
    add_cors_fields();
    const policy::DirectResponse& direct = *route.direct_response;
    answer(direct.status, core_->texts().slice(pin_, direct.body),
           direct.content_type.empty() ? std::string_view("text/plain") : direct.content_type);
    enter_finish(EndReason::kDirectResponse);
    return;
  }
  enter_finish(EndReason::kNoRoute);
}

}  // namespace np::proxy
