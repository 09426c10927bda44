// SPDX-License-Identifier: Apache-2.0
#include "policy/object_json.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstdio>

#include "base/ascii.h"

namespace np::policy {
namespace {

constexpr int kDepthMax = 64;

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x", static_cast<unsigned>(c));
      out += escape;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

// JSON's number grammar (RFC 8259 6), which is narrower than YAML's: the rest stays text.
bool is_number(std::string_view text) {
  const auto digits = [&text] {
    const size_t count =
        static_cast<size_t>(std::find_if_not(text.begin(), text.end(), is_digit) - text.begin());
    text.remove_prefix(count);
    return count;
  };
  if (text.starts_with('-')) text.remove_prefix(1);
  const bool leading_zero = text.starts_with('0');
  const size_t whole = digits();
  if (whole == 0 || (leading_zero && whole > 1)) return false;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    if (digits() == 0) return false;
  }
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(1);
    if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
    if (digits() == 0) return false;
  }
  return text.empty();
}

std::string scalar(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  const bool is_plain = node.Tag() == "?";
  if (!is_plain) return quoted(text);
  if (text == "true" || text == "True" || text == "TRUE") return "true";
  if (text == "false" || text == "False" || text == "FALSE") return "false";
  return is_number(text) ? text : quoted(text);
}

void append(std::string& out, const YAML::Node& node, int depth) {
  const char* separator = "";
  if (node.IsMap() && depth < kDepthMax) {
    out += '{';
    for (const auto& entry : node) {
      out += separator + quoted(entry.first.IsScalar() ? entry.first.Scalar() : "") + ":";
      append(out, entry.second, depth + 1);
      separator = ",";
    }
    out += '}';
  } else if (node.IsSequence() && depth < kDepthMax) {
    out += '[';
    for (const auto& entry : node) {
      out += separator;
      append(out, entry, depth + 1);
      separator = ",";
    }
    out += ']';
  } else {
    out += node.IsScalar() ? scalar(node) : "null";
  }
}

}  // namespace

std::string to_json(std::string_view yaml) {
  try {
    std::string out;
    append(out, YAML::Load(std::string(yaml)), 0);
    return out;
  } catch (const YAML::Exception&) {
    return "null";
  }
}

}  // namespace np::policy
