// SPDX-License-Identifier: Apache-2.0
#include "unified_diff.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

namespace np::nodectl {
namespace {

constexpr size_t kContextLines = 3;
// Above this many cells of the table the changed middle is shown as one block.
constexpr size_t kTableCellsMax = size_t{16} * 1024 * 1024;

using Lines = std::vector<std::string_view>;

struct Edit {
  char mark = ' ';  // ' ', '-' or '+'
  std::string_view line;
};

Lines split(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

void append(std::vector<Edit>& edits, char mark, const Lines& lines, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) edits.push_back({mark, lines[i]});
}

// Edits of a[a_begin, a_end) into b[b_begin, b_end) by the longest common subsequence.
void append_middle(std::vector<Edit>& edits, const Lines& a, size_t a_begin, size_t a_end,
                   const Lines& b, size_t b_begin, size_t b_end) {
  const size_t rows = a_end - a_begin;
  const size_t columns = b_end - b_begin;
  if (rows * columns > kTableCellsMax) {
    append(edits, '-', a, a_begin, a_end);
    append(edits, '+', b, b_begin, b_end);
    return;
  }
  const size_t width = columns + 1;
  std::vector<uint32_t> common((rows + 1) * width, 0);
  for (size_t i = rows; i-- > 0;) {
    for (size_t j = columns; j-- > 0;) {
      common[i * width + j] =
          a[a_begin + i] == b[b_begin + j]
              ? common[(i + 1) * width + j + 1] + 1
              : std::max(common[(i + 1) * width + j], common[i * width + j + 1]);
    }
  }
  size_t i = 0;
  size_t j = 0;
  while (i < rows || j < columns) {
    if (i < rows && j < columns && a[a_begin + i] == b[b_begin + j]) {
      edits.push_back({' ', a[a_begin + i]});
      ++i;
      ++j;
    } else if (i < rows &&
               (j == columns || common[(i + 1) * width + j] >= common[i * width + j + 1])) {
      edits.push_back({'-', a[a_begin + i++]});
    } else {
      edits.push_back({'+', b[b_begin + j++]});
    }
  }
}

std::vector<Edit> edits_between(const Lines& a, const Lines& b) {
  const size_t shorter = std::min(a.size(), b.size());
  size_t head = 0;
  while (head < shorter && a[head] == b[head]) ++head;
  size_t tail = 0;
  while (tail < shorter - head && a[a.size() - 1 - tail] == b[b.size() - 1 - tail]) ++tail;
  std::vector<Edit> edits;
  append(edits, ' ', a, 0, head);
  append_middle(edits, a, head, a.size() - tail, b, head, b.size() - tail);
  append(edits, ' ', a, a.size() - tail, a.size());
  return edits;
}

// "start,count" of one side of a hunk; an empty side names the line before it.
std::string range(size_t start, size_t count) {
  const size_t shown = count == 0 ? start - 1 : start;
  return std::to_string(shown) + (count == 1 ? "" : "," + std::to_string(count));
}

struct Position {
  size_t old_line = 1;
  size_t new_line = 1;
  void pass(const Edit& edit) {
    if (edit.mark != '+') ++old_line;
    if (edit.mark != '-') ++new_line;
  }
};

}  // namespace

std::string unified_diff(const std::string& old_name, const std::string& old_text,
                         const std::string& new_name, const std::string& new_text) {
  const std::vector<Edit> edits = edits_between(split(old_text), split(new_text));
  std::string out;
  Position at;
  size_t passed = 0;
  for (size_t i = 0; i < edits.size();) {
    if (edits[i].mark == ' ') {
      ++i;
      continue;
    }
    const size_t begin = std::max(passed, i - std::min(i, kContextLines));
    size_t last = i;  // the last changed line of this hunk
    for (size_t j = i; j < edits.size() && j <= last + 2 * kContextLines; ++j) {
      if (edits[j].mark != ' ') last = j;
    }
    const size_t end = std::min(last + 1 + kContextLines, edits.size());
    while (passed < begin) at.pass(edits[passed++]);
    const Position start = at;
    std::string body;
    while (passed < end) {
      body += edits[passed].mark;
      body += edits[passed].line;
      body += '\n';
      at.pass(edits[passed++]);
    }
    if (out.empty()) out = "--- " + old_name + "\n+++ " + new_name + "\n";
    out += "@@ -" + range(start.old_line, at.old_line - start.old_line) + " +" +
           range(start.new_line, at.new_line - start.new_line) + " @@\n" + body;
    i = end;
  }
  return out;
}

}  // namespace np::nodectl
