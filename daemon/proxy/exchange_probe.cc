// SPDX-License-Identifier: Apache-2.0
// Exchange as a health check: like a mirrored request it has no client, and its endpoint is given.
#include "proxy/core.h"
#include "proxy/exchange.h"

namespace np::proxy {
namespace {

// Checks are under no policy: no limits, no retries, no ejection of their own.
struct ProbePolicy {
  policy::Cluster cluster;
  policy::Route route;
  ProbePolicy() {
    cluster.name = "health-check";
    cluster.original_destination = true;
    route.name = "health-check";
    route.clusters.push_back(
        {.cluster = &cluster, .weight = 1, .request_headers = {}, .response_headers = {}});
    route.total_weight = 1;
  }
};

const ProbePolicy& probe_policy() {
  static const ProbePolicy instance;
  return instance;
}

}  // namespace

void Exchange::begin_probe(Core& core, const ProbeTarget& target) {
  core_ = &core;
  kind_ = Kind::kMirror;
  probe_ = &target;
  pin_ = core.pin_snapshot();
  started_at_ = last_activity_ = core.now();
  original_ = target.address;
  dialled_port_ = original_.port;
  gateway_ = true;
  prepare_timers();
  request_.method = "GET";
  request_.scheme = "http";
  request_.target = arena_.copy(target.check.path);
  request_.authority =
      arena_.copy(target.check.host.empty() ? original_.to_string() : target.check.host);
  request_fields_.push_back({"user-agent", "nodeproxy-health-check"});
  request_.fields = request_fields_;
  authority_ = request_.authority;
  const std::string_view whole = request_.target;
  path_ = whole.substr(0, whole.find('?'));
  has_query_ = path_.size() != whole.size();
  query_ = has_query_ ? whole.substr(path_.size() + 1) : std::string_view();
  const ProbePolicy& policy = probe_policy();
  match_ = {&policy.route, static_cast<uint32_t>(path_.size())};
  choice_ = &policy.route.clusters.front();
  cluster_ = &policy.cluster;
  request_complete_ = true;
  core.timers().arm(timers_[static_cast<size_t>(ExchangeTimer::kRoute)],
                    core.now() + target.check.timeout);
  enter_acquire();
}

// A TCP check wants nothing but the connection.
void Exchange::finish_connect_probe(Connection& upstream) {
  status_ = probe_->check.status_from;
  upstream.exchange = {};
  core_->close_after_flush(upstream);
  try_.connection = {};
  enter_finish(EndReason::kMirrorDone);
}

void Exchange::report_probe(EndReason reason) {
  ProbeResult result = ProbeResult::kNoAnswer;
  if (status_ != 0 && reason == EndReason::kMirrorDone) {
    const bool expected =
        status_ >= probe_->check.status_from && status_ <= probe_->check.status_to;
    result = expected ? ProbeResult::kGood : ProbeResult::kWrongStatus;
  }
  core_->probe_ended(probe_->slot, result);
}

}  // namespace np::proxy
