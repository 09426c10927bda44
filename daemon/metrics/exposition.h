// SPDX-License-Identifier: Apache-2.0
// What /metrics answers: the names that Envoy and Istio gave to what we count (traffic-semantics 6
// and 1.9), so that dashboards and alerts go on working, and our own. Pure functions of what was
// read a moment before; docs/metrics.md lists the names.
#pragma once

#include <string>
#include <vector>

#include "metrics/families.h"
#include "metrics/family_choice.h"
#include "metrics/node_totals.h"
#include "metrics/series_sum.h"
#include "metrics/telemetry.h"

namespace np::metrics {

void add_envoy_listener(const NodeTotals& node, const SeriesSums& sums, FamilySet& out);
void add_envoy_clusters(const NodeTotals& node, const SeriesSums& sums, FamilySet& out);
void add_envoy_statsd(const NodeTotals& node, const SeriesSums& sums, FamilySet& out);
void add_istio(const SeriesSums& sums, FamilySet& out);
void add_istio_before_1(const SeriesSums& sums, FamilySet& out);
void add_routes(const SeriesSums& sums, FamilySet& out);
void add_pods(const NodeTotals& node, const std::vector<ShardSeries*>& shards, FamilySet& out);
void add_node(const NodeTotals& node, const SeriesSums& sums, const ToldCounters& told,
              FamilySet& out);

std::string exposition(const NodeTotals& node, const Telemetry& telemetry,
                       const FamilyChoice& choice = {});

// `out.ratings.default.svc.cluster.local|http|version=v1` as statsd wrote it: `_` for `.-|=,`.
std::string statsd_name(std::string_view name);

}  // namespace np::metrics
