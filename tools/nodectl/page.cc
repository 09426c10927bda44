// SPDX-License-Identifier: Apache-2.0
#include "page.h"

#include <algorithm>

namespace np::nodectl {
namespace {

constexpr size_t kLabelColumns = 13;
constexpr size_t kDepthColumns = 2;

// Where to break `text` so that at most `columns` bytes come before: at a blank, or within a word
// that alone is longer. Never within a UTF-8 character.
size_t break_at(std::string_view text, size_t columns) {
  if (text.size() <= columns) return text.size();
  const size_t blank = text.rfind(' ', columns);
  if (blank != std::string_view::npos && blank > 0) return blank;
  size_t at = columns;
  while (at > 1 && (static_cast<unsigned char>(text[at]) & 0xc0U) == 0x80) --at;
  return at;
}

}  // namespace

void Page::part(std::string_view title, std::string_view text) {
  if (!text_.empty()) text_ += '\n';
  write(0, title, text);
}

void Page::entry(std::string_view label, std::string_view text, size_t depth) {
  write(kDepthColumns * depth, label, text);
}

void Page::write(size_t indent, std::string_view label, std::string_view text) {
  std::string line(indent, ' ');
  line += label;
  const size_t column = indent + kLabelColumns;
  // A label that is too long for its column keeps one blank.
  if (!text.empty()) line.resize(std::max(line.size() + 1, column), ' ');
  do {
    const size_t end = break_at(text, kColumns - line.size());
    line += text.substr(0, end);
    text.remove_prefix(end);
    while (text.starts_with(' ')) text.remove_prefix(1);
    while (line.ends_with(' ')) line.pop_back();
    text_ += line + '\n';
    line.assign(column, ' ');
  } while (!text.empty());
}

}  // namespace np::nodectl
