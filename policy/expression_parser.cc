// SPDX-License-Identifier: Apache-2.0
// Recursive descent, one function per level of binding, with the types checked on the way.
#include <re2/re2.h>

#include <array>
#include <charconv>
#include <string>

#include "policy/expression_lexer.h"
#include "policy/values.h"

namespace np::policy {

namespace {

using Op = ExpressionNode::Op;
constexpr int64_t kRegexMemoryBytes = 1 << 20;
constexpr const char* kFunctions = "match, ip, timestamp, emptyStringMap, conditional";
constexpr const char* kMethods = "matches, startsWith, endsWith";

class Parser {
 public:
  Parser(std::string_view text, ExpressionProblem& problem)
      : lexer_(text), problem_(problem), program_(std::make_shared<ExpressionProgram>()) {
    program_->text = text;
  }

  std::optional<Expression> run() {
    uint32_t root = 0;
    if (!advance() || !either(root)) return std::nullopt;
    if (token_.kind != Token::Kind::kEnd) {
      fail("an operator is missing here", token_.shown(), "== != && || |, or the end");
      return std::nullopt;
    }
    program_->root = root;
    return Expression(std::move(program_));
  }

 private:
  using Level = bool (Parser::*)(uint32_t&);

  bool fail_at(size_t position, std::string message, std::string found, std::string allowed = {}) {
    problem_ = {position, std::move(message), std::move(found), std::move(allowed)};
    return false;
  }
  bool fail(std::string message, std::string found, std::string allowed = {}) {
    return fail_at(token_.position, std::move(message), std::move(found), std::move(allowed));
  }
  bool advance() { return lexer_.next(token_, problem_); }
  bool expect(std::string_view sign) {
    if (!token_.is(sign)) return fail("expected " + std::string(sign), token_.shown());
    return advance();
  }

  ExpressionNode& node(uint32_t index) { return program_->nodes[index]; }
  ValueType type_of(uint32_t index) { return node(index).type; }
  bool add(ExpressionNode made, uint32_t& out) {
    for (const uint32_t child : made.children) {
      made.depth = std::max(made.depth, node(child).depth + 1);
    }
    if (made.depth > kExpressionDepthMax) return too_deep();
    out = static_cast<uint32_t>(program_->nodes.size());
    program_->nodes.push_back(std::move(made));
    return true;
  }
  bool add(Op op, ValueType type, std::vector<uint32_t> children, uint32_t& out) {
    ExpressionNode made;
    made.op = op;
    made.type = type;
    made.children = std::move(children);
    return add(std::move(made), out);
  }
  bool too_deep() {
    return fail("operations are nested too deeply", "more than " + limit_text(),
                "up to " + limit_text() + " levels");
  }
  static std::string limit_text() { return std::to_string(kExpressionDepthMax); }

  // Both of one type; a text is a duration where one is wanted.
  bool unify(uint32_t first, uint32_t second, size_t position) {
    if (type_of(first) == type_of(second)) return true;
    if (as_duration(first, type_of(second)) || as_duration(second, type_of(first))) return true;
    return fail_at(
        position, "both sides must have one type",
        std::string(name_of(type_of(first))) + " and " + std::string(name_of(type_of(second))));
  }
  bool as_duration(uint32_t index, ValueType wanted) {
    if (wanted != ValueType::kDuration || node(index).op != Op::kText) return false;
    const auto duration = parse_duration(node(index).text);
    if (!duration) return false;
    node(index).op = Op::kNumber;
    node(index).type = ValueType::kDuration;
    node(index).number = duration->count();
    return true;
  }
  bool want(uint32_t index, ValueType type, size_t position) {
    if (type_of(index) == type) return true;
    return fail_at(position, "a " + std::string(name_of(type)) + " is needed here",
                   "a value of type " + std::string(name_of(type_of(index))));
  }

  // ---- levels, loosest first ------------------------------------------------------------------

  bool either(uint32_t& out) {
    if (++nesting_ > kExpressionDepthMax) return too_deep();
    const bool good = chain("||", Op::kOr, &Parser::both, out);
    --nesting_;
    return good;
  }
  bool both(uint32_t& out) { return chain("&&", Op::kAnd, &Parser::comparison, out); }

  bool chain(std::string_view sign, Op op, Level level, uint32_t& out) {
    std::vector<uint32_t> parts(1);
    size_t position = token_.position;
    if (!(this->*level)(parts[0])) return false;
    out = parts[0];
    if (!token_.is(sign)) return true;
    if (!want(parts[0], ValueType::kBoolean, position)) return false;
    while (token_.is(sign)) {
      if (!advance()) return false;
      position = token_.position;
      parts.push_back(0);
      if (!(this->*level)(parts.back())) return false;
      if (!want(parts.back(), ValueType::kBoolean, position)) return false;
    }
    return add(op, ValueType::kBoolean, std::move(parts), out);
  }

  bool comparison(uint32_t& out) {
    if (!alternatives(out)) return false;
    while (token_.is("==") || token_.is("!=")) {
      const Op op = token_.is("==") ? Op::kEqual : Op::kNotEqual;
      const size_t position = token_.position;
      uint32_t right = 0;
      if (!advance() || !alternatives(right) || !unify(out, right, position)) return false;
      if (type_of(out) == ValueType::kMap) {
        return fail_at(position, "maps cannot be compared", "a map of strings",
                       "one entry of it, for example request.headers[\"x-user\"]");
      }
      if (!add(op, ValueType::kBoolean, {out, right}, out)) return false;
    }
    return true;
  }

  bool alternatives(uint32_t& out) {
    std::vector<uint32_t> parts(1);
    if (!postfix(parts[0])) return false;
    out = parts[0];
    if (!token_.is("|")) return true;
    const size_t position = token_.position;
    while (token_.is("|")) {
      parts.push_back(0);
      if (!advance() || !postfix(parts.back())) return false;
    }
    // Twice: a text before the first duration becomes one as well.
    for (int round = 0; round < 2; ++round) {
      for (const uint32_t part : parts) {
        if (!unify(parts.front(), part, position)) return false;
      }
    }
    const ValueType type = type_of(parts[0]);
    return add(Op::kFirstOf, type, std::move(parts), out);
  }

  bool postfix(uint32_t& out) {
    if (!primary(out)) return false;
    for (;;) {
      const size_t position = token_.position;
      if (token_.is("[")) {
        uint32_t key = 0;
        if (!want(out, ValueType::kMap, position) || !advance()) return false;
        const size_t key_position = token_.position;
        if (!either(key) || !want(key, ValueType::kString, key_position) || !expect("]")) {
          return false;
        }
        if (!add(Op::kIndex, ValueType::kString, {out, key}, out)) return false;
      } else if (token_.is(".")) {
        if (!advance()) return false;
        const Token name = token_;
        if (name.kind != Token::Kind::kName) return fail("expected a name", token_.shown());
        if (!advance() || !method(name, out, out)) return false;
      } else {
        return true;
      }
    }
  }

  // ---- parts ----------------------------------------------------------------------------------

  bool primary(uint32_t& out) {
    const Token token = token_;
    ExpressionNode made;
    switch (token.kind) {
      case Token::Kind::kText:
        made.text = token.text;
        return add(std::move(made), out) && advance();
      case Token::Kind::kInteger:
      case Token::Kind::kDuration:
        made.op = Op::kNumber;
        made.type =
            token.kind == Token::Kind::kInteger ? ValueType::kInteger : ValueType::kDuration;
        made.number = token.number;
        return add(std::move(made), out) && advance();
      case Token::Kind::kName:
        return name(out);
      case Token::Kind::kSign:
        if (token.is("(")) return advance() && either(out) && expect(")");
        break;
      case Token::Kind::kEnd:
        break;
    }
    return fail("a value is missing here", token.shown(),
                "an attribute, a literal, a function or an expression in parentheses");
  }

  // An attribute, a function, true or false, or a method of an attribute.
  bool name(uint32_t& out) {
    const size_t position = token_.position;
    Token last = token_;
    std::string path;
    for (;;) {
      if (!advance()) return false;
      if (token_.is("(")) break;
      path.append(path.empty() ? "" : ".").append(last.written);
      if (!token_.is(".")) return attribute(path, position, out);
      if (!advance()) return false;
      last = token_;
      if (last.kind != Token::Kind::kName) return fail("expected a name", token_.shown());
    }
    if (path.empty()) return function(last, out);
    return attribute(path, position, out) && method(last, out, out);
  }

  bool attribute(const std::string& path, size_t position, uint32_t& out) {
    ExpressionNode made;
    if (path == "true" || path == "false") {
      made.op = Op::kNumber;
      made.type = ValueType::kBoolean;
      made.number = path == "true" ? 1 : 0;
      return add(std::move(made), out);
    }
    const auto known = find_attribute(path);
    if (!known) {
      return fail_at(position, "unknown attribute", path,
                     "the nearest are " + nearest_attributes(path));
    }
    made.op = Op::kAttribute;
    made.attribute = *known;
    made.type = info_of(*known).type;
    return add(std::move(made), out);
  }

  bool arguments(const Token& called, size_t count, std::vector<uint32_t>& out,
                 std::vector<size_t>& positions) {
    if (!expect("(")) return false;
    while (!token_.is(")")) {
      if (!out.empty() && !expect(",")) return false;
      positions.push_back(token_.position);
      out.push_back(0);
      if (!either(out.back())) return false;
    }
    if (!advance()) return false;
    if (out.size() == count) return true;
    return fail_at(called.position, std::string(called.written) + " takes another number of values",
                   std::to_string(out.size()), std::to_string(count));
  }

  bool function(const Token& called, uint32_t& out) {
    const std::string_view name = called.written;
    const bool known = name == "match" || name == "ip" || name == "timestamp" ||
                       name == "emptyStringMap" || name == "conditional";
    if (!known) {
      const bool is_method = name == "matches" || name == "startsWith" || name == "endsWith";
      return fail_at(
          called.position,
          is_method ? "this function is written behind a value and a dot" : "unknown function",
          std::string(name),
          is_method ? "\"regex\".matches(value), value.startsWith(\"a\")" : kFunctions);
    }
    const size_t count = name == "conditional"      ? 3
                         : name == "match"          ? 2
                         : name == "emptyStringMap" ? 0
                                                    : 1;
    std::vector<uint32_t> values;
    std::vector<size_t> at;
    if (!arguments(called, count, values, at)) return false;
    if (name == "emptyStringMap") return add(Op::kEmptyMap, ValueType::kMap, {}, out);
    if (name == "conditional") {
      if (!want(values[0], ValueType::kBoolean, at[0]) || !unify(values[1], values[2], at[1])) {
        return false;
      }
      const ValueType type = type_of(values[1]);
      return add(Op::kCondition, type, std::move(values), out);
    }
    for (size_t i = 0; i < values.size(); ++i) {
      if (!want(values[i], ValueType::kString, at[i])) return false;
    }
    if (name == "match") {
      return check_glob(values[1], at[1]) &&
             add(Op::kGlob, ValueType::kBoolean, std::move(values), out);
    }
    return name == "ip" ? to_ip(values[0], at[0], out) : to_time(values[0], at[0], out);
  }

  bool check_glob(uint32_t pattern, size_t position) {
    if (node(pattern).op != Op::kText) return true;
    const std::string& text = node(pattern).text;
    const size_t star = text.find('*');
    const bool legal = star == std::string::npos || star + 1 == text.size() ||
                       (star == 0 && text.find('*', 1) == std::string::npos);
    return legal || fail_at(position, "a pattern has one star, at its start or at its end", text,
                            "\"text\", \"start*\", \"*end\"");
  }

  bool to_ip(uint32_t value, size_t position, uint32_t& out) {
    if (node(value).op != Op::kText) return add(Op::kToIp, ValueType::kIp, {value}, out);
    const auto ip = IpAddress::parse(node(value).text);
    if (!ip) return fail_at(position, "not an IP address", node(value).text);
    node(value).op = Op::kIp;
    node(value).type = ValueType::kIp;
    node(value).ip = *ip;
    out = value;
    return true;
  }

  bool to_time(uint32_t value, size_t position, uint32_t& out) {
    if (node(value).op != Op::kText) return add(Op::kToTime, ValueType::kTime, {value}, out);
    const auto time = parse_timestamp(node(value).text);
    if (!time) {
      return fail_at(position, "not a timestamp of RFC 3339", node(value).text,
                     "for example 2018-01-02T15:04:05Z");
    }
    node(value).op = Op::kNumber;
    node(value).type = ValueType::kTime;
    node(value).number = *time;
    out = value;
    return true;
  }

  bool method(const Token& called, uint32_t target, uint32_t& out) {
    const std::string_view name = called.written;
    if (name != "matches" && name != "startsWith" && name != "endsWith") {
      return fail_at(called.position, "unknown function behind a value", std::string(name),
                     kMethods);
    }
    std::vector<uint32_t> values;
    std::vector<size_t> at;
    if (!want(target, ValueType::kString, called.position) || !arguments(called, 1, values, at) ||
        !want(values[0], ValueType::kString, at[0])) {
      return false;
    }
    if (name == "matches") return regex(called, target, values[0], out);
    return add(name == "startsWith" ? Op::kStarts : Op::kEnds, ValueType::kBoolean,
               {target, values[0]}, out);
  }

  // Mixer has the expression in front; behind the value it is taken as well.
  bool regex(const Token& called, uint32_t target, uint32_t argument, uint32_t& out) {
    const bool in_front = node(target).op == Op::kText;
    if (!in_front && node(argument).op != Op::kText) {
      return fail_at(called.position, "the regular expression must be written out", "a value",
                     "\"regex\".matches(value)");
    }
    const std::string pattern = node(in_front ? target : argument).text;
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(kRegexMemoryBytes);
    auto compiled = std::make_shared<const RE2>(pattern, options);
    if (!compiled->ok()) {
      return fail_at(called.position, "not a legal regular expression: " + compiled->error(),
                     pattern, "RE2 syntax");
    }
    ExpressionNode made;
    made.op = Op::kRegex;
    made.type = ValueType::kBoolean;
    made.regex = std::move(compiled);
    made.children = {in_front ? argument : target};
    return add(std::move(made), out);
  }

  ExpressionLexer lexer_;
  ExpressionProblem& problem_;
  std::shared_ptr<ExpressionProgram> program_;
  Token token_;
  size_t nesting_ = 0;
};

}  // namespace

std::optional<Expression> parse_expression(std::string_view text, ExpressionProblem& problem) {
  if (text.size() > kExpressionBytesMax) {
    problem = {0, "the expression is too long", std::to_string(text.size()) + " bytes",
               "up to " + std::to_string(kExpressionBytesMax)};
    return std::nullopt;
  }
  return Parser(text, problem).run();
}

}  // namespace np::policy
