// SPDX-License-Identifier: Apache-2.0
// String matches and header operations of values.h.
#include <re2/re2.h>

#include "policy/values.h"

namespace np::policy {
namespace {

constexpr size_t kMaxRegexBytes = 4096;
constexpr int64_t kMaxRegexMemory = 1 << 20;

// What ECMAScript has and RE2 leaves out for the sake of linear time (D12).
const char* beyond_re2(std::string_view pattern) {
  for (std::string_view look : {"(?=", "(?!", "(?<=", "(?<!"}) {
    if (pattern.find(look) != std::string_view::npos) return "look-around";
  }
  for (size_t i = 0; i + 1 < pattern.size(); ++i) {
    if (pattern[i] != '\\') continue;
    if (pattern[i + 1] >= '1' && pattern[i + 1] <= '9') return "a back-reference";
    ++i;
  }
  return nullptr;
}

// Envoy would expand %REQ(x)% and the like; we send header values as they stand.
bool has_substitution(std::string_view text) {
  size_t first = text.find('%');
  if (first == std::string_view::npos || first + 1 >= text.size()) return false;
  char next = text[first + 1];
  return next >= 'A' && next <= 'Z' && text.find('%', first + 1) != std::string_view::npos;
}

// Fields that the proxy itself answers for: a policy that sets them would break framing.
bool is_framing_field(std::string_view name) {
  for (std::string_view framing : {"content-length", "transfer-encoding", "connection",
                                   "keep-alive", "upgrade", "te", "trailer", "proxy-connection"}) {
    if (name == framing) return true;
  }
  return false;
}

bool check_header_name(const Value& at, const std::string& name) {
  if (!is_header_name(name)) {
    at.error("not a legal header name", shown(name));
    return false;
  }
  if (is_framing_field(lower_case(name))) {
    at.error("this header belongs to the proxy and cannot be changed", shown(name));
    return false;
  }
  return true;
}

using Pairs = std::vector<std::pair<std::string, std::string>>;

void read_pairs(const Value& map, Pairs& out, std::optional<std::string>* authority) {
  for (const Value& entry : map.entries()) {
    auto text = entry.string();
    if (!text) {
      if (!entry.present()) entry.error("a string is required", "nothing");
      continue;
    }
    if (!check_header_value(entry, *text)) continue;
    std::string name = lower_case(entry.key());
    if (name == ":authority" || name == "host") {
      if (authority == nullptr) {
        entry.error("the host can be set only in headers.request.set of the route itself", name);
      } else if (authority->has_value()) {
        entry.error("the host is set in two places", name);
      } else {
        *authority = *text;
      }
      continue;
    }
    if (check_header_name(entry, entry.key())) out.emplace_back(name, *text);
  }
}

void read_one_side(const Value& side, HeaderOps& operations,
                   std::optional<std::string>* authority) {
  Fields fields(side);
  read_pairs(fields.get("set"), operations.set, authority);
  read_pairs(fields.get("add"), operations.add, nullptr);
  for (const Value& item : fields.get("remove").items()) {
    auto name = item.non_empty_string();
    if (name && check_header_name(item, *name)) operations.remove.push_back(lower_case(*name));
  }
}

}  // namespace

bool check_regex(const Value& value, const std::string& pattern) {
  if (pattern.size() > kMaxRegexBytes) {
    value.error("the regular expression is too long", std::to_string(pattern.size()) + " bytes",
                "up to " + std::to_string(kMaxRegexBytes));
    return false;
  }
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kMaxRegexMemory);
  RE2 compiled(pattern, options);
  if (compiled.ok()) return true;
  const char* beyond = beyond_re2(pattern);
  if (beyond != nullptr) {
    value.error(std::string("this regular expression uses ") + beyond +
                    ", which RE2 does not have because it cannot be matched in linear time",
                shown(pattern), "RE2 syntax");
  } else {
    value.error("not a legal regular expression: " + compiled.error(), shown(pattern),
                "RE2 syntax");
  }
  return false;
}

std::optional<StringMatch> read_string_match(const Value& value, const MatchRules& rules) {
  StringMatch match;
  if (!value.present() && rules.allow_present) {
    match.kind = StringMatch::Kind::kPresent;
    return match;
  }
  if (value.is_scalar()) {
    value.error("a match is required, for example {exact: " + value.found() + "}", value.found(),
                "exact, prefix, regex");
    return std::nullopt;
  }
  Fields fields(value);
  int set = fields.at_most_one({"exact", "prefix", "regex"});
  Value exact = fields.get("exact");
  Value prefix = fields.get("prefix");
  Value regex = fields.get("regex");
  if (set > 1) return std::nullopt;
  if (set == 0) {
    if (fields.empty() && rules.allow_present && value.is_map()) {
      match.kind = StringMatch::Kind::kPresent;
      return match;
    }
    if (value.is_map() || !value.present()) {
      value.error("a match is required", "nothing", "exact, prefix, regex");
    }
    return std::nullopt;
  }
  const Value& used = exact.present() ? exact : prefix.present() ? prefix : regex;
  auto text = used.string();
  if (!text) return std::nullopt;
  match.value = *text;
  if (prefix.present()) {
    match.kind = StringMatch::Kind::kPrefix;
    if (text->empty() && !rules.allow_empty_prefix) {
      used.error("must not be empty");
      return std::nullopt;
    }
  }
  if (regex.present()) {
    match.kind = StringMatch::Kind::kRegex;
    if (*text == "*" && rules.allow_present) {
      match.kind = StringMatch::Kind::kPresent;
      match.value.clear();
      return match;
    }
    if (text->empty() && !rules.allow_empty_regex) {
      used.error("must not be empty");
      return std::nullopt;
    }
    if (!check_regex(used, *text)) return std::nullopt;
  }
  return match;
}

void warn_of_cookie_trap(const Value& value, std::string_view header, const StringMatch& match) {
  if (header != "cookie" || match.kind != StringMatch::Kind::kRegex) return;
  // The idiom: "(.*?;)?" in front of name=value, without room for the blank that browsers send.
  bool idiom = match.value.find(";)?(") != std::string::npos &&
               match.value.find(";\\s*)?(") == std::string::npos;
  if (!idiom) return;
  value.warning(
      "this expression matches the whole Cookie header and misses a cookie that follows another "
      "one, as in \"a=b; user=jason\", because a blank comes after the semicolon; write "
      "(.*?;\\s*)? "
      "to match it as well");
}

bool check_header_value(const Value& value, std::string_view text) {
  for (char c : text) {
    if ((static_cast<uint8_t>(c) < 0x20 && c != '\t') || c == 0x7f) {
      value.error("a control character is not legal in a header value", shown(text));
      return false;
    }
  }
  if (has_substitution(text)) {
    value.error("Envoy's %...% substitutions are not supported in header values", shown(text),
                "plain text");
    return false;
  }
  return true;
}

void read_header_operations(const Value& value, HeaderOps& request, HeaderOps& response,
                            std::optional<std::string>* authority) {
  Fields fields(value);
  read_one_side(fields.get("request"), request, authority);
  read_one_side(fields.get("response"), response, nullptr);
}

}  // namespace np::policy
