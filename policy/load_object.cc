// SPDX-License-Identifier: Apache-2.0
// load_object() and load_model(): Objects -> Model.
#include <algorithm>
#include <iterator>

#include "policy/envelope.h"
#include "policy/loaders.h"
#include "policy/object.h"
#include "policy/values.h"
#include "policy/yaml_tree.h"

namespace np::policy {
namespace {

constexpr std::string_view kLegacy = "config.istio.io";
constexpr std::string_view kNetworking = "networking.istio.io";
constexpr std::string_view kOwn = "nodeproxy.dev";

struct Entry {
  std::string_view group;
  std::string_view kind;
  Loader loader;
};

constexpr Entry kLoaders[] = {
    {"", "Service", load_service},
    {"", "Pod", load_pod},
    {"", "Endpoints", load_endpoints},
    {"", "Namespace", load_namespace},
    {"discovery.k8s.io", "EndpointSlice", load_endpoint_slice},
    {kNetworking, "VirtualService", load_virtual_service},
    {kNetworking, "DestinationRule", load_destination_rule},
    {kNetworking, "Gateway", load_gateway},
    {kNetworking, "ServiceEntry", load_service_entry},
    {kOwn, "TrafficPolicy", load_traffic_policy},
    {kLegacy, "RouteRule", load_route_rule},
    {kLegacy, "DestinationPolicy", load_destination_policy},
    {kLegacy, "EgressRule", load_egress_rule},
    {kLegacy, "memquota", load_memquota},
    {kLegacy, "redisquota", load_redisquota},
    {kLegacy, "quota", load_quota},
    {kLegacy, "rule", load_rule},
    {kLegacy, "QuotaSpec", load_quota_spec},
    {kLegacy, "QuotaSpecBinding", load_quota_spec_binding},
    {kLegacy, "denier", load_denier},
    {kLegacy, "checknothing", load_checknothing},
    {kOwn, "RateLimit", load_rate_limit},
};

Loader loader_of(const ObjectId& id) {
  for (const Entry& entry : kLoaders) {
    if (entry.group == id.group && entry.kind == id.kind) return entry.loader;
  }
  return nullptr;
}

Strictness strictness_of(std::string_view group) {
  if (group == kNetworking || group == kOwn) return Strictness::kStrict;
  if (group == kLegacy) return Strictness::kStrictSnakeToo;
  return Strictness::kTolerateUnknown;
}

// The rest of metadata; name and namespace were read with the envelope.
void read_metadata(LoadInput& input) {
  Fields fields(input.metadata);
  fields.skip({"name", "namespace", "creationTimestamp", "resourceVersion", "uid", "generation",
               "generateName", "managedFields", "selfLink", "finalizers", "ownerReferences",
               "deletionTimestamp", "deletionGracePeriodSeconds"});
  input.labels = read_labels(fields.get("labels"));
  input.annotations = fields.get("annotations").string_map();
}

template <typename T>
void append(std::vector<T>& to, std::vector<T>& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

void append(MixerModel& to, MixerModel& from) {
  append(to.quota_handlers, from.quota_handlers);
  append(to.quota_instances, from.quota_instances);
  append(to.deniers, from.deniers);
  append(to.check_nothings, from.check_nothings);
  append(to.rules, from.rules);
  append(to.quota_specs, from.quota_specs);
  append(to.quota_spec_bindings, from.quota_spec_bindings);
}

void append(Model& to, Model& from) {
  append(to.services, from.services);
  append(to.pods, from.pods);
  append(to.endpoints, from.endpoints);
  append(to.routes, from.routes);
  append(to.destinations, from.destinations);
  append(to.gateways, from.gateways);
  append(to.traffic, from.traffic);
  append(to.mixer, from.mixer);
  append(to.rate_limits, from.rate_limits);
}

}  // namespace

void load_object(const Object& object, Model& model, Diagnostics& diagnostics) {
  ReadContext context;
  context.diagnostics = &diagnostics;
  context.file = object.file;
  context.object = object.id.to_string();
  context.line_offset = std::max(object.line, 1) - 1;
  context.strictness = strictness_of(object.id.group);
  YamlNode tree;
  if (auto error = parse_yaml(object.text, YamlLimits{}, tree)) {
    context.report(Diagnostic::Level::kError, error->line + context.line_offset, "",
                   error->message);
    return;
  }
  int first_line = std::max(tree.line, 1) + context.line_offset;
  Model scratch;
  auto before = static_cast<std::ptrdiff_t>(diagnostics.size());
  {
    Value root(context, &tree, "", first_line);
    if (!root.is_map()) {
      root.error("an object is a map with apiVersion, kind, metadata and spec");
      return;
    }
    Fields fields(root);
    fields.skip({"status"});
    auto envelope = read_envelope(fields, object.id.ns);
    Value spec = fields.get("spec");
    Loader loader = envelope ? loader_of(envelope->id) : nullptr;
    if (loader == nullptr) return;
    Origin origin{envelope->id.kind, envelope->id.ns, envelope->id.name,     object.file,
                  first_line,        object.sequence, object.changed_unix_ns};
    LoadInput input{
        origin, envelope->id.ns, envelope->id.name, fields, spec, envelope->metadata, {}, {}};
    read_metadata(input);
    loader(input, scratch);
  }
  // Unknown keys are found after the known ones were read; people read from top to bottom.
  std::stable_sort(diagnostics.begin() + before, diagnostics.end(),
                   [](const Diagnostic& a, const Diagnostic& b) { return a.line < b.line; });
  if (context.errors == 0) append(model, scratch);
}

Model load_model(const std::vector<Object>& objects, Diagnostics& diagnostics) {
  // Oldest first: conflicts between objects go to the younger one (D14).
  std::vector<const Object*> by_age;
  by_age.reserve(objects.size());
  for (const Object& object : objects) by_age.push_back(&object);
  std::stable_sort(by_age.begin(), by_age.end(),
                   [](const Object* a, const Object* b) { return a->sequence < b->sequence; });
  Model model;
  for (const Object* object : by_age) load_object(*object, model, diagnostics);
  check_model(model, diagnostics);
  return model;
}

}  // namespace np::policy
