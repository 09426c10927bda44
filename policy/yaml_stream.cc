// SPDX-License-Identifier: Apache-2.0
#include "policy/yaml_stream.h"

#include <algorithm>
#include <cstdint>

namespace np::policy {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Bytes of the UTF-8 sequence that starts `text`, or 0 when it is not one (RFC 3629).
size_t utf8_length(std::string_view text) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0U; };
  auto tail = [&](size_t i) { return (byte(i) & 0xC0U) == 0x80U; };
  unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    if (!tail(1) || !tail(2)) return 0;
    if (first == 0xE0 && byte(1) < 0xA0) return 0;
    if (first == 0xED && byte(1) > 0x9F) return 0;
    return 3;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (!tail(1) || !tail(2) || !tail(3)) return 0;
    if (first == 0xF0 && byte(1) < 0x90) return 0;
    if (first == 0xF4 && byte(1) > 0x8F) return 0;
    return 4;
  }
  return 0;
}

// Copies `stream` with \n as the only line end, or says on which line it is not legal text.
std::optional<YamlError> normalise(std::string_view stream, std::string& out) {
  if (stream.starts_with(kByteOrderMark)) stream.remove_prefix(kByteOrderMark.size());
  out.reserve(stream.size());
  int line = 1;
  for (size_t i = 0; i < stream.size();) {
    auto c = static_cast<uint8_t>(stream[i]);
    if (c == '\r' || c == '\n') {
      if (c == '\r' && i + 1 < stream.size() && stream[i + 1] == '\n') ++i;
      out += '\n';
      ++line;
      ++i;
      continue;
    }
    if ((c < 0x20 && c != '\t') || c == 0x7f) {
      return YamlError{line, "a control character is not legal in YAML"};
    }
    size_t length = utf8_length(stream.substr(i));
    if (length == 0) return YamlError{line, "the text is not UTF-8"};
    out.append(stream, i, length);
    i += length;
  }
  return std::nullopt;
}

std::string_view next_line(std::string_view text, size_t& at) {
  size_t end = text.find('\n', at);
  if (end == std::string_view::npos) end = text.size();
  std::string_view line = text.substr(at, end - at);
  at = std::min(end + 1, text.size());
  return line;
}

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t") == std::string_view::npos;
}

// Blank or only a comment.
bool is_empty(std::string_view line) {
  size_t first = line.find_first_not_of(" \t");
  return first == std::string_view::npos || line[first] == '#';
}

bool has_content(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    if (!is_empty(next_line(text, at))) return true;
  }
  return false;
}

bool is_marker(std::string_view line, std::string_view marker) {
  if (!line.starts_with(marker)) return false;
  return line.size() == marker.size() || line[marker.size()] == ' ' || line[marker.size()] == '\t';
}

class Splitter {
 public:
  explicit Splitter(std::vector<YamlDocument>& documents) : documents_(documents) {}

  void split(std::string_view text) {
    int line_number = 0;
    for (size_t at = 0; at < text.size();) {
      size_t start = at;
      std::string_view line = next_line(text, at);
      ++line_number;
      bool begins = is_marker(line, "---");
      if (!begins && !is_marker(line, "...")) {
        body_.append(text, start, at - start);
        continue;
      }
      finish();
      body_line_ = line_number + 1;
      // "--- {a: b}": the document begins on the line of its marker.
      if (begins && !is_empty(line.substr(3))) {
        body_line_ = line_number;
        body_.assign(text, start, at - start);
      }
    }
    finish();
  }

 private:
  void finish() {
    if (has_content(body_)) documents_.push_back({remove_common_indent(body_), body_line_});
    body_.clear();
  }

  std::vector<YamlDocument>& documents_;
  std::string body_;
  int body_line_ = 1;
};

}  // namespace

std::string remove_common_indent(std::string_view text) {
  size_t common = std::string_view::npos;
  for (size_t at = 0; at < text.size();) {
    std::string_view line = next_line(text, at);
    if (!is_blank(line)) common = std::min(common, line.find_first_not_of(' '));
  }
  if (common == 0 || common == std::string_view::npos) return std::string(text);
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    size_t start = at;
    std::string_view line = next_line(text, at);
    // A blank line may be shorter than the indentation.
    size_t cut = std::min(common, std::min(line.find_first_not_of(' '), line.size()));
    out.append(text, start + cut, at - start - cut);
  }
  return out;
}

std::optional<YamlError> split_yaml(std::string_view stream, std::vector<YamlDocument>& documents) {
  std::string text;
  if (auto error = normalise(stream, text)) return error;
  // A here-document indented as a whole has its `---` indented too.
  Splitter(documents).split(remove_common_indent(text));
  return std::nullopt;
}

}  // namespace np::policy
