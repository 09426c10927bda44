// SPDX-License-Identifier: Apache-2.0
// Parts of a VirtualService: conditions, actions, destinations. Shared by the files that load it.
#pragma once

#include <string>

#include "policy/loaders.h"
#include "policy/values.h"

namespace np::policy {

// load_http_match.cc
std::optional<MatchCondition> read_http_match(const Value& value, const LoadInput& input);
// What a RateLimit's match has in common with it: uri to sourceNamespace.
void read_http_conditions(Fields& fields, MatchCondition& condition);
// Gateways as "ns/name"; "mesh" stays.
std::vector<std::string> read_gateway_names(const Value& list, const LoadInput& input);
std::vector<IpPrefix> read_prefixes(const Value& list);

// load_http_actions.cc
void read_http_actions(Fields& fields, const LoadInput& input, RouteRule& rule);

// load_http_policies.cc
Retry default_retry();
void read_http_retries(const Value& value, RouteRule& rule);
void read_http_fault(const Value& value, RouteRule& rule);
std::optional<uint32_t> read_percentage(const Value& value);
void read_http_cors(const Value& value, RouteRule& rule);
uint32_t parse_retry_conditions(const Value& value, std::vector<uint16_t>& codes);

// load_virtual_service.cc
std::optional<Destination> read_destination(const Value& value, const LoadInput& input);
// Weights are relative; of several at least one must be above zero, and one alone gets all.
void check_weights(const Value& list, std::vector<Destination>& destinations);

}  // namespace np::policy
