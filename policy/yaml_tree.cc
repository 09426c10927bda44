// SPDX-License-Identifier: Apache-2.0
#include "policy/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <map>
#include <set>
#include <sstream>

#include "base/ascii.h"

namespace np::policy {
namespace {

// Leaves yaml-cpp's parser from inside an event handler; caught in parse_yaml().
struct Refused {
  YamlError error;
};

class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const YamlLimits& limits) : limits_(limits) {}

  YamlNode take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add_leaf(new_node(mark, YamlNode::Kind::kNull), anchor);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode node = new_node(mark, YamlNode::Kind::kScalar);
    // yaml-cpp's own marks: "?" is plain, "!" is quoted. Anything else was written by the user.
    if (tag != "?" && tag != "!" && !tag.empty()) {
      if (tag != "tag:yaml.org,2002:str") refuse(mark, "tag " + tag + " is not accepted");
    }
    node.quoted = tag != "?";
    node.scalar = value;
    add_leaf(std::move(node), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto found = anchors_.find(anchor);
    if (found == anchors_.end()) refuse(mark, "an alias may not refer to what encloses it");
    if (stack_.size() + depth_of(found->second) > limits_.max_depth) too_deep(mark);
    count(mark, size_of(found->second));
    if (expects_key()) refuse(mark, "an alias cannot be a key");
    YamlNode copy = found->second;
    copy.line = mark.line + 1;
    add_leaf(std::move(copy), 0);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value style) override {
    open(mark, YamlNode::Kind::kSequence, anchor, style);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value style) override {
    open(mark, YamlNode::Kind::kMap, anchor, style);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    YamlNode node;
    YAML::anchor_t anchor = 0;
    bool has_key = false;  // maps: the next value belongs to `key`
    std::string key;
    int key_line = 0;
    std::set<std::string> keys;
  };

  [[noreturn]] static void refuse(const YAML::Mark& mark, std::string message) {
    throw Refused{{mark.line + 1, std::move(message)}};
  }
  [[noreturn]] void too_deep(const YAML::Mark& mark) const {
    refuse(mark, "nested deeper than " + std::to_string(limits_.max_depth) + " levels");
  }

  void count(const YAML::Mark& mark, size_t nodes) {
    nodes_ += nodes;
    if (nodes_ > limits_.max_nodes) {
      refuse(mark, "more than " + std::to_string(limits_.max_nodes) + " values in one document");
    }
  }

  YamlNode new_node(const YAML::Mark& mark, YamlNode::Kind kind) {
    count(mark, 1);
    YamlNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    return node;
  }

  bool expects_key() const {
    return !stack_.empty() && stack_.back().node.kind == YamlNode::Kind::kMap &&
           !stack_.back().has_key;
  }

  void open(const YAML::Mark& mark, YamlNode::Kind kind, YAML::anchor_t anchor,
            YAML::EmitterStyle::value style) {
    if (stack_.size() >= limits_.max_depth) too_deep(mark);
    if (expects_key()) refuse(mark, "a key must be a plain name");
    Frame frame;
    frame.node = new_node(mark, kind);
    frame.node.flow = style == YAML::EmitterStyle::Flow;
    frame.anchor = anchor;
    stack_.push_back(std::move(frame));
  }

  void close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    add_leaf(std::move(frame.node), frame.anchor);
  }

  // Hands a finished node to its parent: as the next key, as a value, or as an item.
  void add_leaf(YamlNode node, YAML::anchor_t anchor) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& parent = stack_.back();
    if (expects_key()) {
      YAML::Mark mark;
      mark.line = node.line - 1;
      if (node.kind != YamlNode::Kind::kScalar) refuse(mark, "a key must be a plain name");
      if (node.scalar == "<<") refuse(mark, "merge keys (<<) are not accepted");
      if (!parent.keys.insert(node.scalar).second) {
        refuse(mark, "key " + node.scalar.substr(0, 60) + " is given twice");
      }
      parent.has_key = true;
      parent.key = std::move(node.scalar);
      parent.key_line = node.line;
      return;
    }
    if (anchor != 0) {
      YAML::Mark mark;
      mark.line = node.line - 1;
      count(mark, size_of(node));
      anchors_[anchor] = node;
    }
    if (parent.node.kind == YamlNode::Kind::kMap) {
      node.key = std::move(parent.key);
      node.key_line = parent.key_line;
      parent.has_key = false;
    } else {
      node.key.clear();
      node.key_line = 0;
    }
    parent.node.children.push_back(std::move(node));
  }

  static size_t size_of(const YamlNode& node) {
    size_t size = 1;
    for (const YamlNode& child : node.children) size += size_of(child);
    return size;
  }
  static size_t depth_of(const YamlNode& node) {
    size_t depth = 0;
    for (const YamlNode& child : node.children) depth = std::max(depth, depth_of(child));
    return depth + 1;
  }

  const YamlLimits& limits_;
  YamlNode root_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, YamlNode> anchors_;
  size_t nodes_ = 0;
};

// Skips digits (and YAML 1.1's underscores); returns how many digits there were.
size_t skip_digits(std::string_view text, size_t& at) {
  size_t digits = 0;
  while (at < text.size() && (is_digit(text[at]) || (digits > 0 && text[at] == '_'))) {
    if (text[at] != '_') ++digits;
    ++at;
  }
  return digits;
}

bool is_based_integer(std::string_view text) {
  if (text.size() < 3 || text[0] != '0') return false;
  std::string_view legal;
  if (text[1] == 'x') legal = "0123456789abcdefABCDEF_";
  if (text[1] == 'o') legal = "01234567_";
  if (text[1] == 'b') legal = "01_";
  return !legal.empty() && text.find_first_not_of(legal, 2) == std::string_view::npos;
}

ScalarType number_type(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text.empty()) return ScalarType::kString;
  if (is_based_integer(text)) return ScalarType::kInteger;
  for (std::string_view special : {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"}) {
    if (text == special) return ScalarType::kFloat;
  }
  size_t at = 0;
  size_t digits = skip_digits(text, at);
  if (digits > 0 && at == text.size()) return ScalarType::kInteger;
  if (at < text.size() && text[at] == '.') {
    ++at;
    while (at < text.size() && is_digit(text[at])) {
      ++at;
      ++digits;
    }
  }
  if (digits == 0) return ScalarType::kString;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
    if (skip_digits(text, at) == 0) return ScalarType::kString;
  }
  return at == text.size() ? ScalarType::kFloat : ScalarType::kString;
}

void emit_string(const std::string& text, std::string& out) {
  out += '"';
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      std::array<char, 8> escaped{};
      std::snprintf(escaped.data(), escaped.size(), "\\x%02x", byte);
      out += escaped.data();
    } else {
      out += c;
    }
  }
  out += '"';
}

// Writes flow style, in which line ends mean nothing, and so can put every key and item on the line
// where it was: complaints about the emitted text still name the user's lines.
class Emitter {
 public:
  explicit Emitter(int first_line) : line_(first_line) {}

  std::string take() { return std::move(out_); }

  void emit(const YamlNode& node) {
    switch (node.kind) {
      case YamlNode::Kind::kNull:
        out_ += "null";
        return;
      case YamlNode::Kind::kScalar:
        if (scalar_type(node) == ScalarType::kString) {
          emit_string(node.scalar, out_);
        } else {
          out_ += node.scalar;
        }
        return;
      case YamlNode::Kind::kSequence:
        out_ += '[';
        for (const YamlNode& child : node.children) {
          separate(node, child, child.line);
          emit(child);
        }
        out_ += ']';
        return;
      case YamlNode::Kind::kMap:
        out_ += '{';
        for (const YamlNode& child : node.children) {
          separate(node, child, child.key_line);
          emit_string(child.key, out_);
          out_ += ": ";
          emit(child);
        }
        out_ += '}';
        return;
    }
  }

 private:
  void separate(const YamlNode& parent, const YamlNode& child, int line) {
    if (&child != &parent.children.front()) out_ += ", ";
    if (line <= line_) return;
    out_.append(static_cast<size_t>(line - line_), '\n');
    line_ = line;
  }

  std::string out_;
  int line_;
};

}  // namespace

const YamlNode* YamlNode::find(std::string_view name) const {
  if (kind != Kind::kMap) return nullptr;
  for (const YamlNode& child : children) {
    if (child.key == name) return &child;
  }
  return nullptr;
}

bool YamlNode::same_as(const YamlNode& other) const {
  if (kind != other.kind || scalar != other.scalar || children.size() != other.children.size()) {
    return false;
  }
  if (kind == Kind::kScalar && scalar_type(*this) != scalar_type(other)) return false;
  for (size_t i = 0; i < children.size(); ++i) {
    if (children[i].key != other.children[i].key) return false;
    if (!children[i].same_as(other.children[i])) return false;
  }
  return true;
}

ScalarType scalar_type(const YamlNode& node) {
  if (node.quoted) return ScalarType::kString;
  static constexpr std::array<std::string_view, 18> kBooleans = {
      "true", "True", "TRUE", "false", "False", "FALSE", "yes", "Yes", "YES",
      "no",   "No",   "NO",   "on",    "On",    "ON",    "off", "Off", "OFF"};
  if (std::find(kBooleans.begin(), kBooleans.end(), node.scalar) != kBooleans.end()) {
    return ScalarType::kBoolean;
  }
  return number_type(node.scalar);
}

std::optional<YamlError> parse_yaml(std::string_view text, const YamlLimits& limits,
                                    YamlNode& root) {
  std::istringstream stream{std::string(text)};
  TreeBuilder builder(limits);
  try {
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) {
      root = YamlNode{};
      return std::nullopt;
    }
    root = builder.take_root();
    TreeBuilder rest(limits);
    while (parser.HandleNextDocument(rest)) {
      YamlNode extra = rest.take_root();
      if (extra.kind != YamlNode::Kind::kNull) {
        return YamlError{extra.line, "unexpected text after the end of the document"};
      }
    }
    return std::nullopt;
  } catch (const Refused& refused) {
    return refused.error;
  } catch (const YAML::Exception& exception) {
    int line = exception.mark.is_null() ? 1 : exception.mark.line + 1;
    return YamlError{line, "not valid YAML: " + exception.msg};
  } catch (const std::exception& exception) {
    return YamlError{1, std::string("not valid YAML: ") + exception.what()};
  }
}

std::string emit_yaml(const YamlNode& node) {
  Emitter emitter(node.line);
  emitter.emit(node);
  return emitter.take() + "\n";
}

}  // namespace np::policy
