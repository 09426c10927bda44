// SPDX-License-Identifier: Apache-2.0
// Text from elsewhere, made harmless for a terminal and for a shell. Pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace np {

// A character that is not seen, though a terminal or a reader acts on it: DEL, the controls C1, the
// ends of lines U+2028 and U+2029, and what turns the direction of writing. Not the controls below
// a blank, which every quoting knows.
struct Unseen {
  char16_t code = 0;
  size_t bytes = 0;  // 0: it is another character
};
// The one that UTF-8 text starts with.
Unseen unseen_at(std::string_view text);
bool has_unseen(std::string_view text);
// Those as "\uNNNN". Of JSON, and of YAML between double quotes, it says the same.
std::string with_unseen_escaped(std::string_view text);
void append_unseen(std::string& out, Unseen character);

// ASCII as it is; every other byte, and the backslash, as "\xNN" or "\\".
std::string printable(std::string_view text);

// One word of a POSIX shell's command line, whatever bytes it holds; quoted only when it must be.
// Bytes that a terminal would act on are written as $'\xNN', which bash and zsh know.
std::string shell_word(std::string_view text);

}  // namespace np
