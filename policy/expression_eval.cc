// SPDX-License-Identifier: Apache-2.0
#include <re2/re2.h>

#include <array>
#include <charconv>

#include "policy/attribute_view.h"

namespace np::policy {

namespace {

using Op = ExpressionNode::Op;

enum class Outcome : uint8_t {
  kValue,
  kMissing,  // an attribute or key that is not there: `|` moves on, everything else fails
  kFailed,
};

class Evaluator {
 public:
  Evaluator(const ExpressionProgram& program, const AttributeView& attributes, Arena& arena)
      : nodes_(program.nodes), attributes_(attributes), arena_(arena) {}

  // `chained`: a further alternative follows, so that a missing key is missing, not empty.
  Outcome of(uint32_t index, bool chained, ExpressionValue& out) {
    const ExpressionNode& node = nodes_[index];
    out.type = node.type;
    switch (node.op) {
      case Op::kText:
        out.text = node.text;
        return Outcome::kValue;
      case Op::kNumber:
        out.number = node.number;
        return Outcome::kValue;
      case Op::kIp:
        out.ip = node.ip;
        return Outcome::kValue;
      case Op::kEmptyMap:
        out.labels = nullptr;
        out.headers = out.cookies = nullptr;
        return Outcome::kValue;
      case Op::kAttribute: {
        const auto value = attributes_.get(node.attribute, arena_);
        if (!value) return Outcome::kMissing;
        out = *value;
        return Outcome::kValue;
      }
      case Op::kIndex:
        return of_index(node, chained, out);
      case Op::kFirstOf:
        return of_alternatives(node, chained, out);
      case Op::kCondition: {
        ExpressionValue test;
        if (!operand(node.children[0], test)) return Outcome::kFailed;
        return of(node.children[test.number != 0 ? 1 : 2], chained, out);
      }
      default:
        return of_operation(node, out);
    }
  }

 private:
  bool operand(uint32_t index, ExpressionValue& out) {
    return of(index, false, out) == Outcome::kValue;
  }

  Outcome of_index(const ExpressionNode& node, bool chained, ExpressionValue& out) {
    ExpressionValue map;
    ExpressionValue key;
    const Outcome outcome = of(node.children[0], chained, map);
    if (outcome != Outcome::kValue) return outcome;
    if (!operand(node.children[1], key)) return Outcome::kFailed;
    std::optional<std::string_view> found;
    if (map.labels != nullptr) {
      // std::map<std::string> would make a string of the key.
      for (const auto& [name, value] : *map.labels) {
        if (name == key.text) found = value;
      }
    } else if (map.headers != nullptr) {
      found = header_text(*map.headers, key.text, arena_);
    } else if (map.cookies != nullptr) {
      found = cookie_text(*map.cookies, key.text);
    }
    if (!found && chained) return Outcome::kMissing;
    out.text = found.value_or(std::string_view());
    return Outcome::kValue;
  }

  Outcome of_alternatives(const ExpressionNode& node, bool chained, ExpressionValue& out) {
    for (size_t i = 0; i + 1 < node.children.size(); ++i) {
      const Outcome outcome = of(node.children[i], true, out);
      if (outcome != Outcome::kMissing) return outcome;
    }
    return of(node.children.back(), chained, out);
  }

  // && and || decide as soon as they can, so that a test may guard what follows it.
  Outcome of_logic(const ExpressionNode& node, bool stop_at, ExpressionValue& out) {
    for (const uint32_t child : node.children) {
      ExpressionValue value;
      if (!operand(child, value)) return Outcome::kFailed;
      if ((value.number != 0) != stop_at) continue;
      out.number = stop_at ? 1 : 0;
      return Outcome::kValue;
    }
    out.number = stop_at ? 0 : 1;
    return Outcome::kValue;
  }

  Outcome of_operation(const ExpressionNode& node, ExpressionValue& out) {
    if (node.op == Op::kAnd) return of_logic(node, false, out);
    if (node.op == Op::kOr) return of_logic(node, true, out);
    ExpressionValue first;
    ExpressionValue second;
    if (!operand(node.children[0], first)) return Outcome::kFailed;
    if (node.children.size() > 1 && !operand(node.children[1], second)) return Outcome::kFailed;
    switch (node.op) {
      case Op::kEqual:
        out.number = are_equal(first, second) ? 1 : 0;
        return Outcome::kValue;
      case Op::kNotEqual:
        out.number = are_equal(first, second) ? 0 : 1;
        return Outcome::kValue;
      case Op::kGlob:
        out.number = glob(first.text, second.text) ? 1 : 0;
        return Outcome::kValue;
      case Op::kRegex:
        out.number = node.regex->Match({first.text.data(), first.text.size()}, 0, first.text.size(),
                                       re2::RE2::UNANCHORED, nullptr, 0);
        return Outcome::kValue;
      case Op::kStarts:
        out.number = first.text.starts_with(second.text) ? 1 : 0;
        return Outcome::kValue;
      case Op::kEnds:
        out.number = first.text.ends_with(second.text) ? 1 : 0;
        return Outcome::kValue;
      case Op::kToIp: {
        const auto ip = IpAddress::parse(first.text);
        if (!ip) return Outcome::kFailed;
        out.ip = *ip;
        return Outcome::kValue;
      }
      case Op::kToTime: {
        const auto time = parse_timestamp(first.text);
        if (!time) return Outcome::kFailed;
        out.number = *time;
        return Outcome::kValue;
      }
      default:
        return Outcome::kFailed;
    }
  }

  static bool are_equal(const ExpressionValue& a, const ExpressionValue& b) {
    if (a.type == ValueType::kString) return a.text == b.text;
    if (a.type == ValueType::kIp) return a.ip == b.ip;
    return a.number == b.number;
  }

  // One star, at the end or at the start.
  static bool glob(std::string_view value, std::string_view pattern) {
    if (pattern.ends_with('*')) return value.starts_with(pattern.substr(0, pattern.size() - 1));
    if (pattern.starts_with('*')) return value.ends_with(pattern.substr(1));
    return value == pattern;
  }

  const std::vector<ExpressionNode>& nodes_;
  const AttributeView& attributes_;
  Arena& arena_;
};

}  // namespace

std::optional<ExpressionValue> evaluate(const Expression& expression,
                                        const AttributeView& attributes, Arena& arena) {
  const ExpressionProgram& program = expression.program();
  ExpressionValue value;
  if (Evaluator(program, attributes, arena).of(program.root, false, value) != Outcome::kValue) {
    return std::nullopt;
  }
  return value;
}

std::optional<bool> evaluate_condition(const Expression& expression,
                                       const AttributeView& attributes, Arena& arena) {
  const auto value = evaluate(expression, attributes, arena);
  if (!value) return std::nullopt;
  return value->number != 0;
}

std::string_view text_of(const ExpressionValue& value, Arena& arena) {
  switch (value.type) {
    case ValueType::kString:
      return value.text;
    case ValueType::kBoolean:
      return value.number != 0 ? "true" : "false";
    case ValueType::kIp: {
      std::array<char, IpAddress::kTextBytesMax> text{};
      return arena.copy(value.ip.format(text));
    }
    case ValueType::kInteger:
    case ValueType::kDuration:
    case ValueType::kTime: {
      std::array<char, 24> text{};
      const auto end = std::to_chars(text.data(), text.data() + text.size(), value.number).ptr;
      return arena.copy({text.data(), static_cast<size_t>(end - text.data())});
    }
    case ValueType::kMap:
      return {};
  }
  return {};
}

}  // namespace np::policy
