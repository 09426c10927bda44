// SPDX-License-Identifier: Apache-2.0
#include "policy/envelope.h"

#include "policy/kinds.h"
#include "policy/values.h"

namespace np::policy {
namespace {

// Reads metadata.name and metadata.namespace into `id`.
bool read_name(const Value& metadata, const std::string& default_namespace, bool namespaced,
               ObjectId& id) {
  ReadContext& context = metadata.context();
  Strictness before = context.strictness;
  // Unknown keys of metadata are the business of load_object(), which reads all of it.
  context.strictness = Strictness::kTolerateUnknown;
  bool good = true;
  {
    Fields fields(metadata);
    if (auto name = fields.require("name").string()) {
      id.name = *name;
      if (!is_dns_subdomain(*name)) {
        fields.get("name").error("not a legal name", shown(*name),
                                 "lower-case letters, digits, '-' and '.', up to 253");
        good = false;
      }
    } else {
      good = false;
    }
    Value ns = fields.get("namespace");
    auto text = ns.string();
    if (namespaced) id.ns = text.value_or(default_namespace);
    if (ns.present() && (!text || !is_dns_label(*text))) {
      if (text) {
        ns.error("not a legal namespace", shown(*text),
                 "lower-case letters, digits and '-', up to 63");
      }
      good = false;
    }
  }
  context.strictness = before;
  return good;
}

}  // namespace

std::optional<Envelope> read_envelope(Fields& root, const std::string& default_namespace) {
  Envelope envelope;
  ReadContext& context = root.self().context();
  Value version = root.require("apiVersion");
  Value kind = root.require("kind");
  envelope.metadata = root.get("metadata");
  auto version_text = version.non_empty_string();
  auto kind_text = kind.non_empty_string();
  if (!version_text || !kind_text) return std::nullopt;

  size_t slash = version_text->find('/');
  std::string_view bare = *version_text;
  if (slash != std::string::npos) {
    envelope.id.group = version_text->substr(0, slash);
    bare.remove_prefix(slash + 1);
  }
  envelope.id.kind = *kind_text;
  envelope.api_version = *version_text;
  context.object = shown(*kind_text);
  // The name is read even for a kind that is refused, so that the message can say which object.
  const KindInfo* info = find_kind_in_group(envelope.id.group, envelope.id.kind);
  Diagnostics unused;
  if (info == nullptr) {
    Diagnostics* real = std::exchange(context.diagnostics, &unused);
    int errors = context.errors;
    if (read_name(envelope.metadata, default_namespace, true, envelope.id)) {
      context.object = envelope.id.to_string();
    }
    context.diagnostics = real;
    context.errors = errors;
    std::string kinds;
    for (const KindInfo& known : known_kinds()) {
      if (known.group != envelope.id.group) continue;
      kinds += (kinds.empty() ? "" : ", ") + std::string(known.kind);
    }
    kind.error(why_refused(envelope.id.group, *kind_text),
               shown(*kind_text) + " of " + shown(*version_text),
               kinds.empty() ? "" : shown(*version_text) + " has " + kinds);
    return std::nullopt;
  }
  if (!envelope.metadata.present()) {
    root.require("metadata");
    return std::nullopt;
  }
  if (!read_name(envelope.metadata, default_namespace, info->namespaced, envelope.id)) {
    return std::nullopt;
  }
  context.object = envelope.id.to_string();
  if (!is_version_of(envelope.id.group, bare)) {
    version.error("unknown version of this API", shown(*version_text),
                  versions_of(envelope.id.group));
    return std::nullopt;
  }
  return envelope;
}

}  // namespace np::policy
