// SPDX-License-Identifier: Apache-2.0
#include "policy/attribute_view.h"

#include <algorithm>

#include "policy/condition.h"

namespace np::policy {

namespace {

std::optional<ExpressionValue> of_text(std::string_view text) {
  ExpressionValue value;
  value.text = text;
  return value;
}
std::optional<ExpressionValue> of_text(std::optional<std::string_view> text) {
  return text ? of_text(*text) : std::nullopt;
}
// Where an empty text says that nothing is known.
std::optional<ExpressionValue> of_known_text(std::string_view text) {
  return text.empty() ? std::nullopt : of_text(text);
}
std::optional<ExpressionValue> of_number(ValueType type, int64_t number) {
  ExpressionValue value;
  value.type = type;
  value.number = number;
  return value;
}
std::optional<ExpressionValue> of_ip(const IpAddress& ip) {
  ExpressionValue value;
  value.type = ValueType::kIp;
  value.ip = ip;
  return value;
}
std::optional<ExpressionValue> of_labels(const Labels& labels) {
  ExpressionValue value;
  value.type = ValueType::kMap;
  value.labels = &labels;
  return value;
}

std::string_view joined(std::string_view a, std::string_view b, std::string_view c, Arena& arena) {
  char* text = arena.allocate(a.size() + b.size() + c.size());
  char* end = std::copy(a.begin(), a.end(), text);
  end = std::copy(b.begin(), b.end(), end);
  std::copy(c.begin(), c.end(), end);
  return {text, a.size() + b.size() + c.size()};
}

std::optional<ExpressionValue> of_source(Attribute attribute, const CallerView& caller,
                                         Arena& arena) {
  if (attribute == Attribute::kSourceIp) return of_ip(caller.ip);
  if (caller.pod == nullptr) return std::nullopt;
  const Pod& pod = *caller.pod;
  switch (attribute) {
    case Attribute::kSourceUid:
      return of_text(joined("kubernetes://", pod.name, joined(".", pod.ns, "", arena), arena));
    case Attribute::kSourceName:
      return of_text(std::string_view(pod.name));
    case Attribute::kSourceNamespace:
      return of_text(std::string_view(pod.ns));
    case Attribute::kSourceLabels:
      return of_labels(pod.labels);
    case Attribute::kSourceService:
      return of_known_text(pod.service);
    case Attribute::kSourceServiceAccount:
      return of_known_text(pod.service_account);
    default:
      return std::nullopt;
  }
}

std::optional<ExpressionValue> of_destination(Attribute attribute,
                                              const DestinationAttributes& destination) {
  switch (attribute) {
    case Attribute::kDestinationIp:
      return destination.ip ? of_ip(*destination.ip) : std::nullopt;
    case Attribute::kDestinationPort:
      return of_number(ValueType::kInteger, destination.port);
    case Attribute::kDestinationUid:
      return of_known_text(destination.uid);
    case Attribute::kDestinationName:
      return of_known_text(destination.name);
    case Attribute::kDestinationNamespace:
      return of_known_text(destination.ns);
    case Attribute::kDestinationLabels:
      return of_labels(destination.labels);
    case Attribute::kDestinationService:
      return of_known_text(destination.service);
    case Attribute::kDestinationServiceAccount:
      return of_known_text(destination.service_account);
    default:
      return std::nullopt;
  }
}

std::string_view path_and_query(const RequestView& request, Arena& arena) {
  if (request.query.empty()) return request.path;
  return joined(request.path, "?", request.query, arena);
}

// Where Istio 0.x looked for one by default.
std::optional<std::string_view> api_key(const RequestView& request, Arena& arena) {
  for (const std::string_view name : {"key", "api_key"}) {
    if (const auto value = query_value(request.query, name)) return value;
  }
  return header_text(request, "x-api-key", arena);
}

}  // namespace

std::optional<std::string_view> header_text(const RequestView& request, std::string_view name,
                                            Arena& arena) {
  const Field* first = find_field(request.fields, name);
  if (first == nullptr) {
    if (name == ":path") return path_and_query(request, arena);
    if (name == ":method") return request.method;
    if (name == ":scheme") return request.scheme;
    if (name == ":authority" || equals_ignoring_case(name, "host")) return request.authority;
    return std::nullopt;
  }
  std::string_view value = first->value;
  const std::string_view between = equals_ignoring_case(name, "cookie") ? "; " : ",";
  for (const Field* field = first + 1; field != request.fields.data() + request.fields.size();
       ++field) {
    if (!equals_ignoring_case(field->name, name)) continue;
    value = joined(value, between, field->value, arena);
  }
  return value;
}

std::optional<std::string_view> cookie_text(const RequestView& request, std::string_view name) {
  for (const Field& field : request.fields) {
    if (!equals_ignoring_case(field.name, "cookie")) continue;
    std::string_view rest = field.value;
    while (!rest.empty()) {
      std::string_view pair = rest.substr(0, rest.find(';'));
      rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
      pair.remove_prefix(std::min(pair.find_first_not_of(' '), pair.size()));
      const size_t equals = pair.find('=');
      if (equals != std::string_view::npos && pair.substr(0, equals) == name) {
        return pair.substr(equals + 1);
      }
    }
  }
  return std::nullopt;
}

std::optional<ExpressionValue> AttributeView::get(Attribute attribute, Arena& arena) const {
  if (attribute <= Attribute::kSourceUser) return of_source(attribute, *caller, arena);
  if (attribute <= Attribute::kDestinationServiceAccount) {
    return of_destination(attribute, *destination);
  }
  switch (attribute) {
    case Attribute::kRequestHeaders: {
      ExpressionValue value;
      value.type = ValueType::kMap;
      value.headers = request;
      return value;
    }
    case Attribute::kRequestCookies: {
      ExpressionValue value;
      value.type = ValueType::kMap;
      value.cookies = request;
      return value;
    }
    case Attribute::kRequestUrlPath:
      return of_text(request->path);
    case Attribute::kRequestId:
      return of_known_text(request_id);
    case Attribute::kRequestPath:
      return of_text(path_and_query(*request, arena));
    case Attribute::kRequestHost:
      return of_known_text(request->authority);
    case Attribute::kRequestMethod:
      return of_text(request->method);
    case Attribute::kRequestReferer:
      return of_text(header_text(*request, "referer", arena));
    case Attribute::kRequestScheme:
      return of_text(request->scheme);
    case Attribute::kRequestSize:
      if (!request_size) return std::nullopt;
      return of_number(ValueType::kInteger, static_cast<int64_t>(*request_size));
    case Attribute::kRequestUserAgent:
      return of_text(header_text(*request, "user-agent", arena));
    case Attribute::kRequestApiKey:
      return of_text(api_key(*request, arena));
    case Attribute::kConnectionMtls:
      return of_number(ValueType::kBoolean, 0);
    case Attribute::kContextProtocol:
      return of_text(std::string_view("http"));
    default:
      return std::nullopt;
  }
}

}  // namespace np::policy
