// SPDX-License-Identifier: Apache-2.0
#include "policy/expression_lexer.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/ascii.h"
#include "policy/values.h"

namespace np::policy {

namespace {

// The longer ones first.
constexpr std::array<std::string_view, 11> kSigns = {"==", "!=", "&&", "||", "|", "(",
                                                     ")",  "[",  "]",  ",",  "."};

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool fail(ExpressionProblem& problem, size_t position, std::string message, std::string found,
          std::string allowed = {}) {
  problem = {position, std::move(message), std::move(found), std::move(allowed)};
  return false;
}

void append_utf8(uint32_t code, std::string& out) {
  if (code < 0x80U) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800U) {
    out.push_back(static_cast<char>(0xc0U | (code >> 6U)));
    out.push_back(static_cast<char>(0x80U | (code & 0x3fU)));
  } else {
    out.push_back(static_cast<char>(0xe0U | (code >> 12U)));
    out.push_back(static_cast<char>(0x80U | ((code >> 6U) & 0x3fU)));
    out.push_back(static_cast<char>(0x80U | (code & 0x3fU)));
  }
}

}  // namespace

bool ExpressionLexer::finish(Token& token, size_t end) {
  token.written = text_.substr(at_, end - at_);
  at_ = end;
  return true;
}

bool ExpressionLexer::next(Token& token, ExpressionProblem& problem) {
  while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  token = {};
  token.position = at_;
  if (at_ == text_.size()) return true;
  const char first = text_[at_];
  if (first == '"' || first == '`') return read_text(token, problem);
  if (is_digit(first) || (first == '-' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1]))) {
    return read_number(token, problem);
  }
  if (is_letter(first)) {
    size_t end = at_;
    while (end < text_.size() && (is_letter(text_[end]) || is_digit(text_[end]))) ++end;
    token.kind = Token::Kind::kName;
    return finish(token, end);
  }
  for (const std::string_view sign : kSigns) {
    if (!text_.substr(at_).starts_with(sign)) continue;
    token.kind = Token::Kind::kSign;
    return finish(token, at_ + sign.size());
  }
  return fail(problem, at_, "not part of an expression", std::string(1, first),
              "attributes, literals in double quotes, == != && || | ( ) [ ]");
}

// "..." with escapes as in Go, or `...` as it stands.
bool ExpressionLexer::read_text(Token& token, ExpressionProblem& problem) {
  const char quote = text_[at_];
  token.kind = Token::Kind::kText;
  size_t at = at_ + 1;
  while (at < text_.size() && text_[at] != quote) {
    if (quote == '"' && text_[at] == '\\') {
      if (!read_escape(at, token, problem)) return false;
      continue;
    }
    token.text.push_back(text_[at++]);
  }
  if (at == text_.size()) {
    return fail(problem, at_, "a text without its closing quote", std::string(text_.substr(at_)));
  }
  return finish(token, at + 1);
}

bool ExpressionLexer::read_escape(size_t& at, Token& token, ExpressionProblem& problem) {
  constexpr std::string_view kLetters = "abfnrtv\\\"'";
  constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\\"'";
  const char letter = at + 1 < text_.size() ? text_[at + 1] : '\0';
  const size_t plain = kLetters.find(letter);
  if (letter != '\0' && plain != std::string_view::npos) {
    token.text.push_back(kMeanings[plain]);
    at += 2;
    return true;
  }
  const size_t digits = letter == 'x' ? 2 : letter == 'u' ? 4 : 0;
  const std::string_view hex = text_.substr(std::min(at + 2, text_.size()), digits);
  uint32_t code = 0;
  const char* end = hex.data() + hex.size();
  const bool is_code =
      digits != 0 && hex.size() == digits && std::from_chars(hex.data(), end, code, 16).ptr == end;
  if (!is_code) {
    return fail(problem, at, "not a legal escape", std::string(text_.substr(at, 2)),
                R"(\" \\ \n \r \t \a \b \f \v \xHH \uHHHH)");
  }
  if (letter == 'x') {
    token.text.push_back(static_cast<char>(code));
  } else {
    append_utf8(code, token.text);
  }
  at += 2 + digits;
  return true;
}

// 12, -3, or a duration such as 1h30m.
bool ExpressionLexer::read_number(Token& token, ExpressionProblem& problem) {
  size_t end = at_ + 1;
  while (end < text_.size() &&
         (is_digit(text_[end]) || is_letter(text_[end]) ||
          (text_[end] == '.' && end + 1 < text_.size() && is_digit(text_[end + 1])))) {
    ++end;
  }
  const std::string_view written = text_.substr(at_, end - at_);
  const char* last = written.data() + written.size();
  if (std::from_chars(written.data(), last, token.number).ptr == last) {
    token.kind = Token::Kind::kInteger;
    return finish(token, end);
  }
  const auto duration = parse_duration(written);
  if (!duration) {
    return fail(problem, at_, "not a number or duration", std::string(written),
                "whole numbers, and durations such as 20ms or 1h30m");
  }
  token.kind = Token::Kind::kDuration;
  token.number = duration->count();
  return finish(token, end);
}

}  // namespace np::policy
