// SPDX-License-Identifier: Apache-2.0
// Expression: the expression language of Mixer (traffic-semantics 1.7), as rules and quota
// dimensions use it. Parsed and type-checked once, by a loader on the control thread; evaluated per
// request by any shard without heap use in steady state. A value: copies share one program.
//
//   || && == != |          as in Go: `|` binds closest and gives the first alternative that is
//   there request.headers["a"]   index of a map      "s" `s` 12 true 20ms    literals match(value,
//   "a*")  ip("10.1.2.3")  timestamp("2018-01-02T15:04:05Z")  emptyStringMap() conditional(test, a,
//   b)  "regex".matches(value)  value.startsWith("a")  value.endsWith("a")
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "policy/attributes.h"
#include "policy/model_base.h"

namespace re2 {
class RE2;
}
namespace np {
class Arena;
}

namespace np::policy {

struct AttributeView;
struct RequestView;

inline constexpr size_t kExpressionBytesMax = 4096;
inline constexpr size_t kExpressionDepthMax = 32;  // operations within operations

struct ExpressionNode {
  enum class Op : uint8_t {
    kText,
    kNumber,  // integers, booleans, durations and timestamps
    kIp,
    kEmptyMap,
    kAttribute,
    kIndex,      // map, key
    kFirstOf,    // `|`
    kEqual,      // two of one type
    kNotEqual,   // the same
    kAnd,        // of two or more
    kOr,         // of two or more
    kGlob,       // value, pattern
    kRegex,      // value; the pattern is in `regex`
    kStarts,     // value, prefix
    kEnds,       // value, suffix
    kToIp,       // text
    kToTime,     // text
    kCondition,  // test, then, else
  };
  Op op = Op::kText;
  ValueType type = ValueType::kString;
  Attribute attribute = Attribute::kSourceIp;
  size_t depth = 1;
  std::vector<uint32_t> children;
  std::string text;
  int64_t number = 0;
  IpAddress ip;
  std::shared_ptr<const re2::RE2> regex;
};

struct ExpressionProgram {
  std::string text;  // as written
  std::vector<ExpressionNode> nodes;
  uint32_t root = 0;
};

// What is wrong with a text, for people.
struct ExpressionProblem {
  size_t position = 0;  // of the first wrong character, from 0
  std::string message, found, allowed;
};

class Expression {
 public:
  explicit Expression(std::shared_ptr<const ExpressionProgram> program)
      : program_(std::move(program)) {}

  const ExpressionProgram& program() const { return *program_; }
  ValueType type() const { return program_->nodes[program_->root].type; }
  const std::string& text() const { return program_->text; }

 private:
  std::shared_ptr<const ExpressionProgram> program_;  // never null
};

// expression_parser.cc. Nothing, and `problem` filled in, when the text is not an expression.
std::optional<Expression> parse_expression(std::string_view text, ExpressionProblem& problem);

// A value met while evaluating. Texts live as long as the request, the arena and the program do.
struct ExpressionValue {
  ValueType type = ValueType::kString;
  std::string_view text;
  int64_t number = 0;  // kInteger; kBoolean; kDuration: ns; kTime: ns since 1970
  IpAddress ip;
  const Labels* labels = nullptr;        // kMap: of labels,
  const RequestView* headers = nullptr;  // or of request headers,
  const RequestView* cookies = nullptr;  // or of cookies; none of them: the empty map
};

// expression_eval.cc. Nothing when the expression cannot be decided: an attribute is missing for
// which there is no alternative.
std::optional<ExpressionValue> evaluate(const Expression& expression,
                                        const AttributeView& attributes, Arena& arena);
// The same of an expression of type boolean.
std::optional<bool> evaluate_condition(const Expression& expression,
                                       const AttributeView& attributes, Arena& arena);
// A value as quota dimensions and overrides see it; maps have none.
std::string_view text_of(const ExpressionValue& value, Arena& arena);

// "2018-01-02T15:04:05Z" (RFC 3339) as ns since 1970.
std::optional<int64_t> parse_timestamp(std::string_view text);

}  // namespace np::policy
