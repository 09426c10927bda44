// SPDX-License-Identifier: Apache-2.0
#include "http/field_kind.h"

#include <array>

#include "base/field.h"
#include "http/grammar.h"

namespace np::http {
namespace {

template <size_t kCount>
bool is_one_of(std::string_view name, const std::array<std::string_view, kCount>& names) {
  for (const std::string_view candidate : names) {
    if (equals_ignoring_case(name, candidate)) return true;
  }
  return false;
}

template <size_t kCount>
bool has_prefix_of(std::string_view name, const std::array<std::string_view, kCount>& prefixes) {
  for (const std::string_view prefix : prefixes) {
    if (starts_with_ignoring_case(name, prefix)) return true;
  }
  return false;
}

FieldKind choose(std::string_view name, std::string_view wanted, FieldKind kind) {
  return equals_ignoring_case(name, wanted) ? kind : FieldKind::kOther;
}

// Shared by both rules below.
constexpr std::array<std::string_view, 9> kProtectedPrefixes = {
    "content-", "x-forwarded-", "x-b3-",      "x-ot-",     "x-envoy-",
    "x-istio-", "x-nodeproxy-", "x-nodectl-", "x-datadog-"};
constexpr std::array<std::string_view, 14> kProtectedNames = {
    "host",         "cookie",
    "set-cookie",   "authorization",
    "forwarded",    "via",
    "traceparent",  "tracestate",
    "baggage",      "b3",
    "x-request-id", "grpc-trace-bin",
    "grpc-timeout", "x-cloud-trace-context"};

constexpr std::array<std::string_view, 16> kNotInTrailers = {
    "trailer", "cache-control",    "max-forwards", "range",
    "pragma",  "www-authenticate", "age",          "date",
    "expires", "location",         "retry-after",  "vary",
    "warning", "accept-ranges",    "origin",       "authentication-info"};

}  // namespace

FieldKind classify_field(std::string_view name) {
  // The length decides nearly always; the comparison only confirms.
  switch (name.size()) {
    case 2:
      return choose(name, "te", FieldKind::kTe);
    case 4:
      return choose(name, "host", FieldKind::kHost);
    case 6:
      return choose(name, "expect", FieldKind::kExpect);
    case 7:
      return choose(name, "upgrade", FieldKind::kUpgrade);
    case 10:
      if (ascii_lower(name[0]) == 'k') return choose(name, "keep-alive", FieldKind::kHopByHop);
      return choose(name, "connection", FieldKind::kConnection);
    case 14:
      if (ascii_lower(name[0]) == 'h') return choose(name, "http2-settings", FieldKind::kHopByHop);
      return choose(name, "content-length", FieldKind::kContentLength);
    case 16:
      return choose(name, "proxy-connection", FieldKind::kHopByHop);
    case 17:
      return choose(name, "transfer-encoding", FieldKind::kTransferEncoding);
    case 18:
      return choose(name, "proxy-authenticate", FieldKind::kHopByHop);
    case 19:
      return choose(name, "proxy-authorization", FieldKind::kHopByHop);
    default:
      return FieldKind::kOther;
  }
}

bool is_protected_from_connection(std::string_view name) {
  return is_one_of(name, kProtectedNames) || has_prefix_of(name, kProtectedPrefixes);
}

bool is_allowed_in_trailers(std::string_view name) {
  return classify_field(name) == FieldKind::kOther && !is_protected_from_connection(name) &&
         !is_one_of(name, kNotInTrailers) && !starts_with_ignoring_case(name, "if-") &&
         !starts_with_ignoring_case(name, "proxy-");
}

}  // namespace np::http
