// SPDX-License-Identifier: Apache-2.0
// parse_objects(): a YAML stream -> Objects whose envelope is sound.
#include <algorithm>
#include <map>

#include "policy/envelope.h"
#include "policy/object.h"
#include "policy/yaml_reader.h"
#include "policy/yaml_stream.h"
#include "policy/yaml_tree.h"

namespace np::policy {
namespace {

constexpr size_t kMaxStreamBytes = 16UL << 20;
constexpr size_t kMaxObjectBytes = 1UL << 20;
constexpr size_t kMaxObjects = 20'000;
constexpr int kMaxErrors = 200;

// The lines of a block-style list item, without its dash: what the user wrote, comments included.
// Empty when that text does not read as the same object.
std::string slice_item(std::string_view text, const std::vector<size_t>& lines,
                       const YamlNode& item) {
  auto index = static_cast<size_t>(item.line - 1);
  if (index >= lines.size()) return {};
  size_t at = lines[index];
  std::string out;
  size_t column = std::string_view::npos;
  while (at < text.size()) {
    size_t end = std::min(text.find('\n', at), text.size());
    std::string line(text.substr(at, end - at));
    at = end + 1;
    size_t first = line.find_first_not_of(' ');
    if (column == std::string_view::npos) {
      if (first != std::string::npos && line[first] == '-') line[first] = ' ';
      column = line.find_first_not_of(' ');
      if (column == std::string::npos) return {};
    } else if (first != std::string::npos && first < column && line[first] != '#') {
      break;
    }
    out += line + '\n';
  }
  return remove_common_indent(out);
}

std::string item_text(std::string_view text, const std::vector<size_t>& lines,
                      const YamlNode& item) {
  YamlNode again;
  if (!item.flow) {
    std::string sliced = slice_item(text, lines, item);
    if (!sliced.empty() && !parse_yaml(sliced, YamlLimits{}, again) && again.same_as(item)) {
      return sliced;
    }
  }
  return emit_yaml(item);
}

// Where each line of `text` starts.
std::vector<size_t> line_starts(std::string_view text) {
  std::vector<size_t> starts = {0};
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') starts.push_back(i + 1);
  }
  return starts;
}

class ObjectParser {
 public:
  ObjectParser(const ParseOptions& options, Diagnostics& diagnostics)
      : options_(options), diagnostics_(diagnostics) {}

  std::vector<Object> parse(std::string_view yaml) {
    std::vector<YamlDocument> documents;
    if (yaml.size() > kMaxStreamBytes) {
      report(1, "the input is larger than " + std::to_string(kMaxStreamBytes >> 20) + " MiB");
    } else if (auto error = split_yaml(yaml, documents)) {
      report(error->line, error->message);
    }
    for (const YamlDocument& document : documents) {
      if (errors_ >= kMaxErrors) break;
      read_document(document);
    }
    if (errors_ > 0) return {};
    return keep_last();
  }

 private:
  void report(int line, std::string message) {
    ReadContext context;
    context.diagnostics = &diagnostics_;
    context.file = options_.file;
    context.report(Diagnostic::Level::kError, line, "", std::move(message));
    ++errors_;
  }

  void read_document(const YamlDocument& document) {
    YamlNode root;
    if (auto error = parse_yaml(document.text, YamlLimits{}, root)) {
      report(error->line + document.line - 1, error->message);
      return;
    }
    if (root.kind == YamlNode::Kind::kNull) return;
    const YamlNode* kind = root.find("kind");
    const YamlNode* items = root.find("items");
    bool is_list = kind != nullptr && items != nullptr && kind->scalar.ends_with("List");
    if (!is_list) {
      read_object(root, document.text, document.line, document.line - 1);
      return;
    }
    if (items->kind != YamlNode::Kind::kSequence && items->kind != YamlNode::Kind::kNull) {
      report(items->key_line + document.line - 1, "items of a List must be a list");
      return;
    }
    std::vector<size_t> lines = line_starts(document.text);
    for (const YamlNode& item : items->children) {
      if (errors_ >= kMaxErrors) return;
      int offset = document.line - 1;
      read_object(item, item_text(document.text, lines, item), item.line + offset, offset);
    }
  }

  // `line` is where `text` begins; `offset` is what the lines of `node` lack.
  void read_object(const YamlNode& node, std::string text, int line, int offset) {
    if (objects_.size() >= kMaxObjects) {
      report(line, "more than " + std::to_string(kMaxObjects) + " objects at once");
      errors_ = kMaxErrors;
      return;
    }
    ReadContext context;
    context.diagnostics = &diagnostics_;
    context.file = options_.file;
    context.strictness = Strictness::kTolerateUnknown;
    context.line_offset = offset;
    if (text.size() > kMaxObjectBytes) {
      report(line, "one object is larger than " + std::to_string(kMaxObjectBytes >> 20) + " MiB");
      return;
    }
    Value root(context, &node, "", node.line + offset);
    if (!root.is_map()) {
      report(line, "an object is a map with apiVersion, kind, metadata and spec");
      return;
    }
    Fields fields(root);
    auto envelope = read_envelope(fields, options_.default_namespace);
    errors_ += context.errors;
    if (!envelope) return;
    Object object;
    object.id = std::move(envelope->id);
    object.api_version = std::move(envelope->api_version);
    object.text = std::move(text);
    object.file = options_.file;
    object.line = line;
    objects_.push_back(std::move(object));
  }

  // As with two `apply` of one file each: the later object replaces the earlier one.
  std::vector<Object> keep_last() {
    std::map<ObjectId, size_t> last;
    for (size_t i = 0; i < objects_.size(); ++i) last[objects_[i].id] = i;
    std::vector<Object> kept;
    for (size_t i = 0; i < objects_.size(); ++i) {
      const Object& winner = objects_[last[objects_[i].id]];
      if (last[objects_[i].id] == i) {
        kept.push_back(std::move(objects_[i]));
        continue;
      }
      ReadContext context;
      context.diagnostics = &diagnostics_;
      context.file = options_.file;
      context.object = objects_[i].id.to_string();
      context.report(Diagnostic::Level::kWarning, objects_[i].line, "metadata.name",
                     "is given again on line " + std::to_string(winner.line) +
                         ", and the later object counts");
    }
    return kept;
  }

  const ParseOptions& options_;
  Diagnostics& diagnostics_;
  std::vector<Object> objects_;
  int errors_ = 0;
};

}  // namespace

std::vector<Object> parse_objects(std::string_view yaml, const ParseOptions& options,
                                  Diagnostics& diagnostics) {
  return ObjectParser(options, diagnostics).parse(yaml);
}

}  // namespace np::policy
