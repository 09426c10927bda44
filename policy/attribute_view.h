// SPDX-License-Identifier: Apache-2.0
// AttributeView: the attributes of one request, taken when its cluster has been chosen and before
// anything is sent: what the server's side of Istio 0.x knew, as far as it does not depend on the
// endpoint. Borrows everything; lives during one check on a shard's thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/arena.h"
#include "policy/expression.h"
#include "policy/snapshot.h"

namespace np::policy {

// What is fixed per cluster. Name, uid, address: only where there is one endpoint; labels and
// service account: what all endpoints have in common. Empty texts are missing attributes.
struct DestinationAttributes {
  std::string service;  // full host
  std::string ns;
  std::string name;
  std::string uid;
  std::string service_account;
  std::optional<IpAddress> ip;
  uint16_t port = 0;  // of the service
  Labels labels;
};

struct AttributeView {
  const RequestView* request = nullptr;
  const CallerView* caller = nullptr;
  const DestinationAttributes* destination = nullptr;
  std::string_view request_id;
  std::optional<uint64_t> request_size;  // of the body, where the head tells

  // Nothing when the request does not have it.
  std::optional<ExpressionValue> get(Attribute attribute, Arena& arena) const;
};

// The value of a header as an expression sees it: lines of one name are joined.
std::optional<std::string_view> header_text(const RequestView& request, std::string_view name,
                                            Arena& arena);

// The first cookie of that name; names are told apart by case.
std::optional<std::string_view> cookie_text(const RequestView& request, std::string_view name);

}  // namespace np::policy
