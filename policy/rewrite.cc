// SPDX-License-Identifier: Apache-2.0
// What a matched route does to the request's target: the path and authority that go upstream, and
// the Location of a redirect.
#include <re2/re2.h>

#include <algorithm>

#include "policy/snapshot.h"

namespace np::policy {

namespace {

// Bytes that could end a header line or a request line. Values from policy and from regular
// expressions pass through here, so that no combination of them splits a message.
bool is_unsafe(char c) {
  return static_cast<unsigned char>(c) <= ' ' || c == '\x7f';
}

void remove_unsafe(std::string& text, size_t from) {
  const auto start = text.begin() + static_cast<std::ptrdiff_t>(from);
  text.erase(std::remove_if(start, text.end(), is_unsafe), text.end());
}

// `replacement` + what follows the matched prefix, with one slash where two would meet and at least
// one in all (the ReplacePrefixMatch table of the Gateway API; for plain prefixes it only joins).
void append_replaced(std::string_view replacement, std::string_view rest, std::string& out) {
  const size_t start = out.size();
  out.append(replacement);
  if (out.size() > start && out.back() == '/' && rest.starts_with('/')) rest.remove_prefix(1);
  out.append(rest);
  if (out.size() == start || out[start] != '/') out.insert(start, 1, '/');
}

std::string_view behind_match(const RouteMatch& match, std::string_view path) {
  return path.substr(std::min<size_t>(match.matched_prefix_bytes, path.size()));
}

void append_query(std::string_view query, size_t path_start, std::string& path) {
  if (query.empty()) return;
  // A replacement may bring a query of its own.
  const bool has_query = path.find('?', path_start) != std::string::npos;
  path.append(has_query ? "&" : "?").append(query);
}

void append_rewritten_path(const Rewrite& rewrite, const re2::RE2* regex, const RouteMatch& match,
                           std::string_view from, std::string& path) {
  const size_t start = path.size();
  if (rewrite.uri) {
    append_replaced(*rewrite.uri, behind_match(match, from), path);
  } else if (regex != nullptr && rewrite.regex_substitution) {
    thread_local std::string text;
    text.assign(from);
    re2::RE2::GlobalReplace(&text, *regex, *rewrite.regex_substitution);
    if (!text.starts_with('/')) path.push_back('/');
    path.append(text);
  } else {
    path.append(from);
    return;
  }
  remove_unsafe(path, start);
}

// Splits "host:port" (or "[v6]:port"); port 0 when there is none.
std::pair<std::string_view, uint16_t> split_port(std::string_view authority) {
  const size_t colon = authority.rfind(':');
  const size_t bracket = authority.rfind(']');
  if (colon == std::string_view::npos || (bracket != std::string_view::npos && colon < bracket) ||
      (bracket == std::string_view::npos && authority.find(':') != colon)) {
    return {authority, 0};
  }
  uint32_t port = 0;
  for (const char c : authority.substr(colon + 1)) {
    if (c < '0' || c > '9' || port > 65535) return {authority, 0};
    port = port * 10 + static_cast<uint32_t>(c - '0');
  }
  return {authority.substr(0, colon), static_cast<uint16_t>(port > 65535 ? 0 : port)};
}

uint16_t default_port(std::string_view scheme) {
  return scheme == "https" ? 443 : 80;
}

void append_authority(const Redirect& redirect, const RequestView& request, std::string_view scheme,
                      std::string& out) {
  const std::string_view asked =
      redirect.authority ? std::string_view(*redirect.authority) : request.authority;
  const auto [host, own_port] = split_port(asked);
  uint16_t port = own_port;
  if (redirect.authority && own_port != 0) {
    port = own_port;
  } else if (redirect.port) {
    port = *redirect.port;
  } else if (redirect.derive_port == Redirect::DerivePort::kFromProtocolDefault) {
    port = 0;
  } else if (redirect.derive_port == Redirect::DerivePort::kFromRequestPort) {
    port = request.port;
  } else if (!redirect.authority && port == default_port(request.scheme)) {
    port = 0;  // it said nothing but the old scheme
  }
  out.append(host);
  if (port != 0 && port != default_port(scheme)) out.append(":").append(std::to_string(port));
}

}  // namespace

void rewrite_request(const RouteMatch& match, const RequestView& request, std::string& path,
                     std::string& authority) {
  const Route* route = match.route;
  const Rewrite* rewrite = route != nullptr && route->rewrite ? &*route->rewrite : nullptr;
  const size_t path_start = path.size();
  // Targets that are no path ("*", a CONNECT authority) have no prefix to replace.
  if (rewrite != nullptr && request.path.starts_with('/')) {
    append_rewritten_path(*rewrite, route->rewrite_regex.get(), match, request.path, path);
  } else {
    path.append(request.path);
  }
  append_query(request.query, path_start, path);
  const size_t authority_start = authority.size();
  if (rewrite != nullptr && rewrite->authority) {
    authority.append(*rewrite->authority);
    remove_unsafe(authority, authority_start);
  } else {
    authority.append(request.authority);
  }
}

std::string redirect_location(const RouteMatch& match, const RequestView& request) {
  static const Redirect kNothing;
  const Redirect& redirect =
      match.route != nullptr && match.route->redirect ? *match.route->redirect : kNothing;
  std::string path;
  if (redirect.path) {
    append_replaced(*redirect.path, {}, path);
  } else if (redirect.prefix) {
    append_replaced(*redirect.prefix, behind_match(match, request.path), path);
    append_query(request.query, 0, path);
  } else {
    append_replaced(request.path, {}, path);
    append_query(request.query, 0, path);
  }
  std::string_view scheme = request.scheme.empty() ? "http" : request.scheme;
  if (redirect.scheme) scheme = *redirect.scheme;
  std::string location;
  if (redirect.authority || !request.authority.empty()) {
    location.append(scheme).append("://");
    append_authority(redirect, request, scheme, location);
  } else {
    // Without a host the answer is relative, and "//x" or "/\x" would name a host of its own.
    const size_t text = std::min(path.find_first_not_of("/\\"), path.size());
    path.erase(0, text).insert(0, 1, '/');
  }
  location.append(path);
  remove_unsafe(location, 0);
  return location;
}

}  // namespace np::policy
