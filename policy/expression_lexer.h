// SPDX-License-Identifier: Apache-2.0
// ExpressionLexer: an expression's text as tokens. Control thread; lives during one parse and
// borrows the text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "policy/expression.h"

namespace np::policy {

struct Token {
  enum class Kind : uint8_t {
    kEnd,
    kName,      // one word: the parts of "request.headers" come one by one
    kText,      // `text` is what the quotes hold
    kInteger,   // `number`
    kDuration,  // `number` in ns
    kSign,      // one of ( ) [ ] , . == != && || |
  };
  Kind kind = Kind::kEnd;
  size_t position = 0;
  std::string_view written;  // as it stands in the text
  std::string text;
  int64_t number = 0;

  bool is(std::string_view sign) const { return kind == Kind::kSign && written == sign; }
  std::string shown() const { return kind == Kind::kEnd ? "the end" : std::string(written); }
};

class ExpressionLexer {
 public:
  explicit ExpressionLexer(std::string_view text) : text_(text) {}

  // False, and `problem` filled in, when there is no token here.
  bool next(Token& token, ExpressionProblem& problem);

 private:
  bool read_text(Token& token, ExpressionProblem& problem);
  bool read_escape(size_t& at, Token& token, ExpressionProblem& problem);
  bool read_number(Token& token, ExpressionProblem& problem);
  bool finish(Token& token, size_t end);

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace np::policy
