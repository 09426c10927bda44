// SPDX-License-Identifier: Apache-2.0
#include "proxy/own_answer.h"

namespace np::proxy {

OwnAnswer own_answer(EndReason reason) {
  switch (reason) {
    case EndReason::kNoRoute:
      return {404, ""};
    case EndReason::kNoCluster:
      return {503, ""};
    case EndReason::kNoHealthyUpstream:
      return {503, "no healthy upstream"};
    case EndReason::kOverloaded:
      return {503, "envoy overloaded"};
    case EndReason::kOverflow:
      return {503,
              "upstream connect error or disconnect/reset before headers. reset reason: overflow"};
    case EndReason::kConnectFailed:
      return {503,
              "upstream connect error or disconnect/reset before headers. reset reason: "
              "connection failure"};
    case EndReason::kConnectTimeout:
      return {503,
              "upstream connect error or disconnect/reset before headers. reset reason: "
              "connection timeout"};
    case EndReason::kUpstreamClosed:
      return {503,
              "upstream connect error or disconnect/reset before headers. reset reason: "
              "connection termination"};
    case EndReason::kUpstreamProtocol:
      return {502,
              "upstream connect error or disconnect/reset before headers. reset reason: "
              "protocol error"};
    case EndReason::kRouteTimeout:
    case EndReason::kPerTryTimeout:
      return {504, "upstream request timeout"};
    case EndReason::kFaultAbort:
      return {500, "fault filter abort"};
    case EndReason::kBadPath:
      return {400, "bad path"};
    case EndReason::kMethodRefused:
      return {405, ""};
    case EndReason::kLoop:
      return {508, "loop detected"};
    case EndReason::kMaxForwards:
      return {200, ""};
    case EndReason::kBadRequest:
      return {400, ""};
    case EndReason::kHeadTimeout:
    case EndReason::kRequestStalled:
      return {408, "request timeout"};
    case EndReason::kRateLimited:
      return {429, ""};
    case EndReason::kDenied:
      return {403, ""};
    case EndReason::kIdleBeforeAnswer:
      return {504, "stream timeout"};
    default:
      return {500, ""};
  }
}

std::string_view details_of(EndReason reason) {
  switch (reason) {
    case EndReason::kCompleted:
      return "via_upstream";
    case EndReason::kRedirect:
    case EndReason::kDirectResponse:
      return "direct_response";
    case EndReason::kNoRoute:
      return "route_not_found";
    case EndReason::kNoCluster:
      return "cluster_not_found";
    case EndReason::kConnectFailed:
      return "upstream_reset_before_response_started{connection_failure}";
    case EndReason::kConnectTimeout:
      return "upstream_reset_before_response_started{connection_timeout}";
    case EndReason::kUpstreamClosed:
      return "upstream_reset_before_response_started{connection_termination}";
    case EndReason::kUpstreamProtocol:
      return "upstream_reset_before_response_started{protocol_error}";
    case EndReason::kOverflow:
    case EndReason::kTcpOverflow:
      return "upstream_reset_before_response_started{overflow}";
    case EndReason::kUpstreamTruncated:
      return "upstream_reset_after_response_started{connection_termination}";
    case EndReason::kRouteTimeout:
      return "upstream_response_timeout";
    case EndReason::kPerTryTimeout:
      return "upstream_per_try_timeout";
    case EndReason::kFaultAbort:
    case EndReason::kFaultReset:
      return "fault_filter_abort";
    case EndReason::kRateLimited:
      return "local_rate_limited";
    case EndReason::kBadRequest:
      return "http1.codec_error";
    case EndReason::kOverloaded:
    case EndReason::kOverloadReset:
    case EndReason::kTcpOverloaded:
      return "overload";
    case EndReason::kClientGone:
      return "downstream_remote_disconnect";
    case EndReason::kHeadTimeout:
      return "request_header_timeout";
    case EndReason::kIdleBeforeAnswer:
    case EndReason::kIdleInAnswer:
      return "stream_idle_timeout";
    default:
      return name_of(reason);  // Envoy has no word for it
  }
}

}  // namespace np::proxy
