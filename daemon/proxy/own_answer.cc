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

}  // namespace np::proxy
