// SPDX-License-Identifier: Apache-2.0
// What a request and its caller look like to policy. Plain views, valid during one step.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/address.h"
#include "base/field.h"
#include "policy/model.h"

namespace np::policy {

// A caller: the pod behind the connection (kernel's view), or none (gateway client).
struct CallerView {
  const Pod* pod = nullptr;  // null: not one of this node's pods
  uint32_t pod_id = 0;
  uint32_t workload_id = 0;  // whose limits hold (D9): the pod's workload, or the gateway
  IpAddress ip;
  std::string_view gateway;  // "ns/name" when it came in through a gateway, else empty
};

struct RequestView {
  std::string_view method;
  std::string_view scheme;     // "http" or "https"
  std::string_view authority;  // canonical: lower case, default port and trailing dot removed
  std::string_view path;       // normalised, without query
  std::string_view query;      // without '?'; may be empty
  FieldSpan fields;            // end-to-end fields, Host not among them
  uint16_t port = 0;           // the port that was dialled
  IpAddress dialled;           // the address that was dialled, for destination subnets
};

class RequestMatcher {
 public:
  virtual ~RequestMatcher() = default;
  virtual bool holds(const RequestView& request, const CallerView& caller) const = 0;
};

}  // namespace np::policy
