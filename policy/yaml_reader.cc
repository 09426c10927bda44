// SPDX-License-Identifier: Apache-2.0
#include "policy/yaml_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

namespace np::policy {
namespace {

// One object may be wrong everywhere; nobody reads more than this.
constexpr int kMaxErrorsPerObject = 50;
constexpr size_t kMaxShownBytes = 80;

std::string join(const std::vector<std::string_view>& names) {
  std::string out;
  for (std::string_view name : names) {
    if (!out.empty()) out += ", ";
    out += name;
  }
  return out;
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Edit distance without regard to case and underscores, for suggestions.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t substituted = diagonal + (lower(a[i - 1]) == lower(b[j - 1]) ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

std::string_view nearest(std::string_view name, const std::vector<std::string_view>& legal) {
  if (name.size() > 64) return {};
  size_t best_distance = std::max<size_t>(2, name.size() / 3) + 1;
  std::string_view best;
  for (std::string_view candidate : legal) {
    size_t d = distance(name, candidate);
    if (d < best_distance && d < candidate.size()) {
      best_distance = d;
      best = candidate;
    }
  }
  return best;
}

const char* kind_name(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kSequence:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a map";
    case YamlNode::Kind::kScalar:
      break;
  }
  switch (scalar_type(node)) {
    case ScalarType::kBoolean:
      return "a boolean";
    case ScalarType::kInteger:
    case ScalarType::kFloat:
      return "a number";
    case ScalarType::kString:
      break;
  }
  return "a string";
}

std::optional<int64_t> parse_integer(std::string_view text) {
  std::string digits;
  bool negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  int base = 10;
  if (text.size() > 2 && text[0] == '0') {
    if (text[1] == 'x') base = 16;
    if (text[1] == 'o') base = 8;
    if (text[1] == 'b') base = 2;
    if (base != 10) text.remove_prefix(2);
  }
  for (char c : text) {
    if (c != '_') digits += c;
  }
  if (negative) digits.insert(digits.begin(), '-');
  int64_t value = 0;
  auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (status != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

std::string number_text(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) {
    return std::to_string(static_cast<int64_t>(value));
  }
  return std::to_string(value);
}

}  // namespace

std::string shown(std::string_view text) {
  bool cut = text.size() > kMaxShownBytes;
  if (cut) {
    text = text.substr(0, kMaxShownBytes);
    // Not in the middle of a UTF-8 sequence.
    while (!text.empty() && (static_cast<uint8_t>(text.back()) & 0x80U) != 0) text.remove_suffix(1);
  }
  std::string out;
  for (char c : text) out += static_cast<uint8_t>(c) < 0x20 || c == 0x7f ? ' ' : c;
  if (cut) out += "...";
  return out;
}

void ReadContext::report(Diagnostic::Level level, int line, std::string field, std::string message,
                         std::string found, std::string allowed) {
  if (level == Diagnostic::Level::kError && ++errors > kMaxErrorsPerObject) {
    if (errors > kMaxErrorsPerObject + 1) return;
    field.clear();
    found.clear();
    allowed.clear();
    message = "further errors of this object are not listed";
  }
  Diagnostic diagnostic;
  diagnostic.level = level;
  diagnostic.file = file;
  diagnostic.line = line;
  diagnostic.object = object;
  diagnostic.field = std::move(field);
  diagnostic.message = std::move(message);
  diagnostic.found = std::move(found);
  diagnostic.allowed = std::move(allowed);
  diagnostics->push_back(std::move(diagnostic));
}

void Value::error(std::string message, std::string found, std::string allowed) const {
  context_->report(Diagnostic::Level::kError, line_, path_, std::move(message), std::move(found),
                   std::move(allowed));
}

void Value::warning(std::string message) const {
  context_->report(Diagnostic::Level::kWarning, line_, path_, std::move(message));
}

void Value::not_in_effect(std::string message) const {
  context_->report(Diagnostic::Level::kNotInEffect, line_, path_, std::move(message));
}

std::string Value::found() const {
  if (!present()) return "nothing";
  if (node_->kind == YamlNode::Kind::kScalar) return shown(node_->scalar);
  return kind_name(*node_);
}

std::optional<std::string> Value::string() const {
  if (!present()) return std::nullopt;
  if (node_->kind != YamlNode::Kind::kScalar) {
    error("a string is required", kind_name(*node_));
    return std::nullopt;
  }
  if (scalar_type(*node_) != ScalarType::kString) {
    error(std::string("a string is required and YAML reads this as ") + kind_name(*node_) +
              ": write it in quotes",
          shown(node_->scalar), "\"" + shown(node_->scalar) + "\"");
    return std::nullopt;
  }
  return node_->scalar;
}

std::optional<std::string> Value::non_empty_string() const {
  auto text = string();
  if (!text || !text->empty()) return text;
  error("must not be empty");
  return std::nullopt;
}

std::optional<bool> Value::boolean() const {
  if (!present()) return std::nullopt;
  if (!is_scalar() || scalar_type(*node_) != ScalarType::kBoolean) {
    error("a boolean is required", found(), "true, false");
    return std::nullopt;
  }
  char first = lower(node_->scalar[0]);
  return first == 't' || first == 'y' || (first == 'o' && lower(node_->scalar[1]) == 'n');
}

std::optional<int64_t> Value::integer(int64_t least, int64_t most) const {
  if (!present()) return std::nullopt;
  std::string allowed = std::to_string(least) + ".." + std::to_string(most);
  if (!is_scalar() || scalar_type(*node_) != ScalarType::kInteger) {
    bool quoted = is_scalar() && node_->quoted && parse_integer(node_->scalar);
    error(quoted ? "a whole number without quotes is required" : "a whole number is required",
          quoted ? "\"" + found() + "\"" : found(), allowed);
    return std::nullopt;
  }
  auto value = parse_integer(node_->scalar);
  if (!value || *value < least || *value > most) {
    error("out of range", found(), allowed);
    return std::nullopt;
  }
  return value;
}

std::optional<double> Value::number(double least, double most) const {
  if (!present()) return std::nullopt;
  std::string allowed = number_text(least) + ".." + number_text(most);
  ScalarType type = is_scalar() ? scalar_type(*node_) : ScalarType::kString;
  if (type != ScalarType::kInteger && type != ScalarType::kFloat) {
    error("a number is required", found(), allowed);
    return std::nullopt;
  }
  double value = std::nan("");
  if (type == ScalarType::kFloat) {
    std::string digits = node_->scalar;
    digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
    value = std::strtod(digits.c_str(), nullptr);
    if (node_->scalar.find_first_of("nNiI") != std::string::npos) value = std::nan("");
  } else if (auto whole = parse_integer(node_->scalar)) {
    value = static_cast<double>(*whole);
  }
  if (!(value >= least && value <= most)) {
    error("out of range", found(), allowed);
    return std::nullopt;
  }
  return value;
}

std::optional<size_t> Value::choice(std::initializer_list<std::string_view> allowed) const {
  auto text = string();
  if (!text) return std::nullopt;
  auto at = std::find(allowed.begin(), allowed.end(), *text);
  if (at != allowed.end()) return static_cast<size_t>(at - allowed.begin());
  error("not one of the legal values", found(), join(allowed));
  return std::nullopt;
}

std::vector<Value> Value::items() const {
  std::vector<Value> out;
  if (!present()) return out;
  if (node_->kind != YamlNode::Kind::kSequence) {
    error("a list is required", found());
    return out;
  }
  for (size_t i = 0; i < node_->children.size(); ++i) {
    const YamlNode& child = node_->children[i];
    out.emplace_back(*context_, &child, path_ + "[" + std::to_string(i) + "]",
                     child.line + context_->line_offset);
  }
  return out;
}

std::vector<Value> Value::entries() const {
  std::vector<Value> out;
  if (!present()) return out;
  if (node_->kind != YamlNode::Kind::kMap) {
    error("a map is required", found());
    return out;
  }
  for (const YamlNode& child : node_->children) {
    // Keys with dots or slashes would read as more than one step of the path.
    bool plain = child.key.find_first_of("./ ") == std::string::npos;
    std::string step = plain ? "." + shown(child.key) : "[" + shown(child.key) + "]";
    out.emplace_back(*context_, &child, path_ + step, child.key_line + context_->line_offset);
  }
  return out;
}

std::vector<std::string> Value::strings() const {
  std::vector<std::string> out;
  for (const Value& item : items()) {
    if (!item.present()) item.error("must not be empty");
    if (auto text = item.non_empty_string()) out.push_back(*text);
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> Value::string_map() const {
  std::vector<std::pair<std::string, std::string>> out;
  for (const Value& entry : entries()) {
    if (!entry.present()) {
      out.emplace_back(entry.key(), "");
    } else if (auto text = entry.string()) {
      out.emplace_back(entry.key(), *text);
    }
  }
  return out;
}

void Value::refuse_if_written(std::string message) const {
  if (present()) error(std::move(message));
}

void Value::warn_if_written(std::string message) const {
  if (present()) warning(std::move(message));
}

Fields::Fields(const Value& map) : map_(map) {
  is_map_ = map.is_map();
  if (map.present() && !is_map_) map.error("a map is required", map.found());
}

Fields::~Fields() {
  if (!is_map_ || map_.context().strictness == Strictness::kTolerateUnknown) return;
  for (const YamlNode& child : map_.node()->children) report_unknown(child);
}

const YamlNode* Fields::lookup(std::string_view name) const {
  if (!is_map_) return nullptr;
  const YamlNode* found = map_.node()->find(name);
  if (map_.context().strictness != Strictness::kStrictSnakeToo) return found;
  std::string other = snake_case(name);
  const YamlNode* snake = other == name ? nullptr : map_.node()->find(other);
  if (found != nullptr && snake != nullptr) {
    ReadContext& context = map_.context();
    context.report(Diagnostic::Level::kError, snake->key_line + context.line_offset,
                   map_.path() + "." + other, "is given twice, once in each spelling");
  }
  return found != nullptr ? found : snake;
}

Value Fields::get(std::string_view name) {
  asked_.push_back(name);
  const YamlNode* node = lookup(name);
  std::string path = map_.path().empty() ? "" : map_.path() + ".";
  path += node != nullptr ? node->key : std::string(name);
  int line = node != nullptr ? node->key_line + map_.context().line_offset : map_.line();
  return {map_.context(), node, std::move(path), line};
}

Value Fields::require(std::string_view name) {
  Value value = get(name);
  // What is not a map at all was reported already.
  if (!value.present() && (is_map_ || !map_.present())) value.error("is required and missing");
  return value;
}

void Fields::skip(std::initializer_list<std::string_view> names) {
  asked_.insert(asked_.end(), names.begin(), names.end());
}

int Fields::at_most_one(std::initializer_list<std::string_view> names) {
  int present = 0;
  for (std::string_view name : names) {
    const YamlNode* node = lookup(name);
    if (node == nullptr || node->kind == YamlNode::Kind::kNull) continue;
    if (++present == 2) get(name).error("only one of these may be set", "", join(names));
  }
  return present;
}

void Fields::report_unknown(const YamlNode& child) const {
  bool snake_too = map_.context().strictness == Strictness::kStrictSnakeToo;
  for (std::string_view name : asked_) {
    if (child.key == name || (snake_too && child.key == snake_case(name))) return;
  }
  std::string message = "unknown field";
  std::string_view suggestion = nearest(child.key, asked_);
  if (!suggestion.empty()) message += ", did you mean " + std::string(suggestion) + "?";
  std::vector<std::string_view> legal = asked_;
  std::sort(legal.begin(), legal.end());
  legal.erase(std::unique(legal.begin(), legal.end()), legal.end());
  ReadContext& context = map_.context();
  std::string path = map_.path().empty() ? "" : map_.path() + ".";
  context.report(Diagnostic::Level::kError, child.key_line + context.line_offset,
                 path + shown(child.key), std::move(message), shown(child.key), join(legal));
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = lower(c);
  return out;
}

std::string snake_case(std::string_view camel) {
  std::string out;
  for (char c : camel) {
    if (c >= 'A' && c <= 'Z') {
      out += '_';
      out += lower(c);
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace np::policy
