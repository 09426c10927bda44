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
    case EndReason::kIdleBeforeAnswer:
      return {504, "stream timeout"};
    default:
      return {500, ""};
  }
}

std::string_view reason_phrase(uint16_t status) {
  switch (status) {
    case 101:
      return "Switching Protocols";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 303:
      return "See Other";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 418:
      return "I'm a teapot";
    case 422:
      return "Unprocessable Content";
    case 426:
      return "Upgrade Required";
    case 428:
      return "Precondition Required";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    case 508:
      return "Loop Detected";
    default:
      return "Unknown";
  }
}

}  // namespace np::proxy
