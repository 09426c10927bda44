// SPDX-License-Identifier: Apache-2.0
#include "policy/table_builder.h"

namespace np::policy {

using Kind = RouteBuilder::Kind;

TableBuilder::Indexes TableBuilder::build_indexes(const std::vector<RouteSets::Layer>& layers,
                                                  Kind kind, const RouteContext& context) {
  Indexes indexes;
  for (const RouteSets::Layer& layer : layers) {
    for (const RouteSet* set : layer.sets) routes_.add_rules(*set, kind, context);
    indexes.push_back(routes_.take_index(layer.api == RouteSet::Api::kHttpRoute));
  }
  return indexes;
}

const RouteTable* TableBuilder::table(const std::vector<RouteSets::Layer>& layers,
                                      const Indexes& indexes, Kind kind, const Route* last) {
  std::vector<RouteLayer> out;
  for (size_t i = 0; i < layers.size(); ++i) {
    // An object that says nothing about this port, or only about the other kind of traffic, leaves
    // its delivery alone; one that does replaces it: what it does not match is answered 404.
    const bool replaces = kind == Kind::kHttp && layers[i].api != RouteSet::Api::kRouteRule &&
                          indexes[i]->size() != 0;
    out.push_back({layers[i].namespaces, indexes[i], replaces ? nullptr : last});
  }
  return keep(std::move(out), last);
}

PortTables TableBuilder::port_tables(const std::string& host, const ServiceRecord& record,
                                     const ServicePort& port) {
  const std::vector<RouteSets::Layer> layers = sets_.of_host(host);
  for (const RouteSets::Layer& layer : layers) {
    if (layer.api != RouteSet::Api::kHttpRoute) report_unreachable(layer.sets);
  }
  const RouteContext context{&record, port.port, {"mesh"}};
  const Route* any = routes_.default_route(record, port);
  const Route* dialled = record.forwards_to_dialled() ? any : routes_.dialled_route(record, port);
  PortTables out;
  if (speaks_http(port.protocol)) {
    const Indexes indexes = build_indexes(layers, Kind::kHttp, context);
    out.http = table(layers, indexes, Kind::kHttp, any);
    out.http_dialled = table(layers, indexes, Kind::kHttp, dialled);
  }
  if (speaks_tcp(port.protocol)) {
    const Indexes indexes = build_indexes(layers, Kind::kTcp, context);
    out.tcp = table(layers, indexes, Kind::kTcp, any);
    out.tcp_dialled = table(layers, indexes, Kind::kTcp, dialled);
  }
  return out;
}

const RouteTable* TableBuilder::passthrough() {
  if (passthrough_ == nullptr) passthrough_ = keep({}, routes_.passthrough_route());
  return passthrough_;
}

const RouteTable* TableBuilder::keep(std::vector<RouteLayer> layers, const Route* last) {
  snapshot_.route_tables.push_back(std::make_unique<LayeredTable>(std::move(layers), last));
  return snapshot_.route_tables.back().get();
}

const HostTable* TableBuilder::keep(std::shared_ptr<const HostNames> names,
                                    const RouteTable* fallback) {
  snapshot_.host_tables.push_back(std::make_unique<HostMap>(std::move(names), fallback));
  return snapshot_.host_tables.back().get();
}

void TableBuilder::report_unreachable(const std::vector<const RouteSet*>& sets) {
  const RouteSet* by_set = nullptr;
  const RouteRule* by_rule = nullptr;
  for (const RouteSet* set : sets) {
    for (size_t i = 0; i < set->http.size(); ++i) {
      const RouteRule& rule = set->http[i];
      if (by_rule == nullptr) {
        if (!is_catch_all(rule)) continue;
        by_set = set;
        by_rule = &rule;
        continue;
      }
      const Origin& origin = rule.origin.kind.empty() ? set->origin : rule.origin;
      const std::string what =
          rule.name.empty() ? "rule " + std::to_string(i + 1) : "rule " + rule.name;
      findings_.warning(origin,
                        what + " is never reached: " +
                            (by_set == set ? "an earlier rule" : by_set->origin.to_string()) +
                            " takes every request",
                        Topic::kShadowed);
    }
  }
}

}  // namespace np::policy
