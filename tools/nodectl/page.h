// SPDX-License-Identifier: Apache-2.0
// Page: running text for people, in 80 columns: labelled entries whose text is wrapped under
// itself. A plain value.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace np::nodectl {

class Page {
 public:
  static constexpr size_t kColumns = 80;

  // A part of the page: an empty line before it, the title, and what there is to say first.
  void part(std::string_view title, std::string_view text);
  // One line below it, and its wrapped rest; `label` may be empty. `depth`: 1 or 2.
  void entry(std::string_view label, std::string_view text, size_t depth = 1);

  const std::string& text() const { return text_; }

 private:
  void write(size_t indent, std::string_view label, std::string_view text);
  std::string text_;
};

}  // namespace np::nodectl
