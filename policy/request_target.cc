// SPDX-License-Identifier: Apache-2.0
#include "policy/request_target.h"

#include "base/field.h"

namespace np::policy {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_unreserved(int c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

// Whether any step below could change the path, or must refuse it.
bool needs_work(std::string_view path) {
  for (size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    if (c == '%' || c == '\\' || c == '\0') return true;
    if (c == '.' && i > 0 && path[i - 1] == '/') return true;
  }
  return false;
}

// Decodes unreserved characters and turns backslashes; false: NUL found.
bool decode(std::string_view path, std::string& out) {
  for (size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    if (c == '\0') return false;
    if (c == '\\') {
      out.push_back('/');
      continue;
    }
    if (c == '%' && i + 2 < path.size()) {
      const int high = hex_value(path[i + 1]);
      const int low = hex_value(path[i + 2]);
      const int value = high * 16 + low;
      if (high >= 0 && low >= 0) {
        if (value == 0) return false;
        if (is_unreserved(value)) {
          out.push_back(static_cast<char>(value));
          i += 2;
          continue;
        }
      }
    }
    out.push_back(c);
  }
  return true;
}

// RFC 3986 5.2.4, in place; `path` begins with '/'. Empty segments stay.
void remove_dot_segments(std::string& path) {
  size_t write = 0;
  size_t read = 0;
  while (read < path.size()) {
    size_t end = path.find('/', read + 1);
    if (end == std::string::npos) end = path.size();
    const std::string_view segment(path.data() + read + 1, end - read - 1);
    const bool last = end == path.size();
    if (segment == ".") {
      if (last) path[write++] = '/';
    } else if (segment == "..") {
      while (write > 0 && path[--write] != '/') {
      }
      if (last) path[write++] = '/';
    } else {
      path.replace(write, end - read, path, read, end - read);
      write += end - read;
    }
    read = end;
  }
  path.resize(write);
  if (path.empty()) path.push_back('/');
}

}  // namespace

TargetParts normalize_target(std::string_view target, std::string& scratch) {
  TargetParts parts;
  target = target.substr(0, target.find('#'));
  const size_t mark = target.find('?');
  parts.path = target.substr(0, mark);
  if (mark != std::string_view::npos) {
    parts.query = target.substr(mark + 1);
    parts.has_query = true;
  }
  if (parts.path == "*") {
    parts.valid = true;
    return parts;
  }
  if (parts.path.empty() || parts.path.front() != '/') return parts;
  parts.valid = true;
  if (!needs_work(parts.path)) return parts;
  scratch.clear();
  parts.valid = decode(parts.path, scratch);
  if (!parts.valid) return parts;
  remove_dot_segments(scratch);
  parts.path = scratch;
  return parts;
}

std::string_view canonical_authority(std::string_view authority, std::string_view scheme,
                                     std::string& scratch) {
  const std::string_view port = scheme == "https" ? ":443" : ":80";
  // "[::1]:80" ends in the port; "::80" without brackets is not an authority.
  if (authority.size() > port.size() && authority.ends_with(port)) {
    authority.remove_suffix(port.size());
  }
  if (authority.size() > 1 && authority.back() == '.') authority.remove_suffix(1);
  bool has_upper = false;
  for (const char c : authority) has_upper |= c >= 'A' && c <= 'Z';
  // "host.:8080": the dot stands before a port that stays.
  const size_t colon = authority.rfind(".:");
  if (!has_upper && colon == std::string_view::npos) return authority;
  scratch.assign(authority);
  if (colon != std::string_view::npos) scratch.erase(colon, 1);
  for (char& c : scratch) c = ascii_lower(c);
  return scratch;
}

}  // namespace np::policy
