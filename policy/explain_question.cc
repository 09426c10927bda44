// SPDX-License-Identifier: Apache-2.0
#include "policy/explain_question.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "base/address.h"
#include "base/field.h"

namespace np::policy {

namespace {

Error refused(const char* flag, std::string_view found, const char* allowed) {
  return {ErrorCode::kInvalid, flag,
          "found \"" + std::string(found) + "\"; allowed: " + std::string(allowed), ""};
}

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// RFC 9110 5.6.2.
bool is_token(std::string_view text) {
  static constexpr std::string_view kMore = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_alphanumeric(c) || kMore.find(c) != std::string_view::npos;
  });
}

bool is_visible(char c) {
  return static_cast<unsigned char>(c) > ' ' && c != '\x7f';
}

bool is_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return is_visible(c) || c == ' ' || c == '\t'; });
}

std::string_view trimmed(std::string_view text) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// "HOST:PORT" or "[v6]:PORT".
bool read_destination(std::string_view text, ExplainQuestion& question) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return false;
  const std::string_view port = text.substr(colon + 1);
  const auto [rest, error] = std::from_chars(port.data(), port.data() + port.size(), question.port);
  if (error != std::errc() || rest != port.data() + port.size() || question.port == 0) return false;
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    if (!IpAddress::parse(host)) return false;
  } else if (host.empty() || !std::all_of(host.begin(), host.end(), [](char c) {
               return is_alphanumeric(c) || c == '.' || c == '-' || c == '_';
             })) {
    return false;
  }
  question.host.assign(host);
  for (char& c : question.host) c = ascii_lower(c);
  if (question.host.size() > 1 && question.host.back() == '.') question.host.pop_back();
  question.authority.assign(text.substr(0, question.port == 80 ? colon : text.size()));
  return true;
}

std::optional<Error> read_header(const std::string& line, ExplainQuestion& question) {
  static constexpr const char* kAllowed =
      "'name: value', the name of letters, digits and !#$%&'*+-.^_`|~, the value without control "
      "characters";
  const size_t colon = line.find(':');
  const std::string_view name = std::string_view(line).substr(0, colon);
  if (colon == std::string::npos || !is_token(name)) return refused("-H", line, kAllowed);
  const std::string_view value = trimmed(std::string_view(line).substr(colon + 1));
  if (!is_value(value)) return refused("-H", line, kAllowed);
  // Of the connection: no rule ever sees them, so an answer with them would mislead.
  static constexpr std::string_view kNeighbours[] = {
      "connection", "keep-alive", "proxy-connection", "te",     "transfer-encoding",
      "upgrade",    "trailer",    "http2-settings",   "expect", "proxy-authorization"};
  for (const std::string_view known : kNeighbours) {
    if (!equals_ignoring_case(name, known)) continue;
    return refused("-H", line, "end-to-end headers; no rule sees one that ends at the next hop");
  }
  if (equals_ignoring_case(name, "host")) {
    question.authority.assign(value);
  } else {
    question.headers.emplace_back(name, value);
  }
  return std::nullopt;
}

}  // namespace

Result<ExplainQuestion> read_question(const QuestionText& text) {
  ExplainQuestion question;
  question.ns = text.ns;
  question.from = trimmed(text.from);
  if (question.from.empty() ||
      !std::all_of(question.from.begin(), question.from.end(), is_visible)) {
    return refused("--from", text.from,
                   "a pod (NAME or NAMESPACE/NAME), an app, or labels k=v,k=v");
  }
  if (!read_destination(trimmed(text.to), question)) {
    return refused("--to", text.to,
                   "HOST:PORT, such as reviews:9080, 10.96.0.1:80 or [fd00::1]:80");
  }
  if (!is_token(text.method)) return refused("--method", text.method, "a method, such as GET");
  question.method = text.method;
  const bool is_path = (text.path.starts_with('/') || text.path == "*") &&
                       std::all_of(text.path.begin(), text.path.end(), is_visible);
  if (!is_path) {
    return refused("--path", text.path, "a path that begins with \"/\", with or without ?query");
  }
  question.target = text.path;
  for (const std::string& line : text.headers) {
    if (auto error = read_header(line, question)) return std::move(*error);
  }
  return question;
}

}  // namespace np::policy
