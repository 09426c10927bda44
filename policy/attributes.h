// SPDX-License-Identifier: Apache-2.0
// The vocabulary of expressions and QuotaSpec clauses (traffic-semantics 1.7): every attribute name
// that Istio 0.x had for a request (and request.url_path, request.cookies), its type, and whether a
// node proxy knows it at the moment a request is checked. Values come from attribute_view.h.
// Constant data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace np::policy {

enum class ValueType : uint8_t { kString, kInteger, kBoolean, kDuration, kTime, kIp, kMap };
std::string_view name_of(ValueType type);  // "string", "integer", ...

// X(enumerator, name, type, known when a request is checked). Not known: what only an answer, a
// verified identity, a wall clock or an API description would tell.
#define NP_ATTRIBUTES(X)                                                     \
  X(kSourceIp, "source.ip", kIp, true)                                       \
  X(kSourceUid, "source.uid", kString, true)                                 \
  X(kSourceName, "source.name", kString, true)                               \
  X(kSourceNamespace, "source.namespace", kString, true)                     \
  X(kSourceLabels, "source.labels", kMap, true)                              \
  X(kSourceService, "source.service", kString, true)                         \
  X(kSourceServiceAccount, "source.serviceAccount", kString, true)           \
  X(kSourceUser, "source.user", kString, false)                              \
  X(kDestinationIp, "destination.ip", kIp, true)                             \
  X(kDestinationPort, "destination.port", kInteger, true)                    \
  X(kDestinationUid, "destination.uid", kString, true)                       \
  X(kDestinationName, "destination.name", kString, true)                     \
  X(kDestinationNamespace, "destination.namespace", kString, true)           \
  X(kDestinationLabels, "destination.labels", kMap, true)                    \
  X(kDestinationService, "destination.service", kString, true)               \
  X(kDestinationServiceAccount, "destination.serviceAccount", kString, true) \
  X(kRequestHeaders, "request.headers", kMap, true)                          \
  X(kRequestId, "request.id", kString, true)                                 \
  X(kRequestPath, "request.path", kString, true)                             \
  X(kRequestUrlPath, "request.url_path", kString, true)                      \
  X(kRequestCookies, "request.cookies", kMap, true)                          \
  X(kRequestHost, "request.host", kString, true)                             \
  X(kRequestMethod, "request.method", kString, true)                         \
  X(kRequestReason, "request.reason", kString, false)                        \
  X(kRequestReferer, "request.referer", kString, true)                       \
  X(kRequestScheme, "request.scheme", kString, true)                         \
  X(kRequestSize, "request.size", kInteger, true)                            \
  X(kRequestTime, "request.time", kTime, false)                              \
  X(kRequestUserAgent, "request.useragent", kString, true)                   \
  X(kRequestApiKey, "request.api_key", kString, true)                        \
  X(kRequestAuthPrincipal, "request.auth.principal", kString, false)         \
  X(kRequestAuthAudiences, "request.auth.audiences", kString, false)         \
  X(kRequestAuthPresenter, "request.auth.presenter", kString, false)         \
  X(kRequestAuthClaims, "request.auth.claims", kMap, false)                  \
  X(kResponseHeaders, "response.headers", kMap, false)                       \
  X(kResponseCode, "response.code", kInteger, false)                         \
  X(kResponseSize, "response.size", kInteger, false)                         \
  X(kResponseTime, "response.time", kTime, false)                            \
  X(kResponseDuration, "response.duration", kDuration, false)                \
  X(kConnectionId, "connection.id", kString, false)                          \
  X(kConnectionReceivedBytes, "connection.received.bytes", kInteger, false)  \
  X(kConnectionSentBytes, "connection.sent.bytes", kInteger, false)          \
  X(kConnectionDuration, "connection.duration", kDuration, false)            \
  X(kConnectionMtls, "connection.mtls", kBoolean, true)                      \
  X(kContextProtocol, "context.protocol", kString, true)                     \
  X(kContextTime, "context.time", kTime, false)                              \
  X(kContextTimestamp, "context.timestamp", kTime, false)                    \
  X(kApiService, "api.service", kString, false)                              \
  X(kApiVersion, "api.version", kString, false)                              \
  X(kApiOperation, "api.operation", kString, false)                          \
  X(kApiProtocol, "api.protocol", kString, false)                            \
  X(kCheckErrorCode, "check.error_code", kInteger, false)                    \
  X(kCheckErrorMessage, "check.error_message", kString, false)

enum class Attribute : uint8_t {
#define NP_X(enumerator, name, type, known) enumerator,
  NP_ATTRIBUTES(NP_X)
#undef NP_X
};

struct AttributeInfo {
  std::string_view name;
  ValueType type = ValueType::kString;
  bool is_known = false;
};
const AttributeInfo& info_of(Attribute attribute);
std::optional<Attribute> find_attribute(std::string_view name);
// The names that are closest to a wrong one, "a, b, c"; for messages.
std::string nearest_attributes(std::string_view name);

}  // namespace np::policy
