// SPDX-License-Identifier: Apache-2.0
// GuardBook: what people asked of the admission guard. A change is tried on the kernel, saved, and
// only then answered; when a step fails everything is as it was. Owned by the Controller; control
// thread only.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/guard.h"

namespace np::control {

class GuardBook {
 public:
  // `host` is null without capture: then every change is refused.
  GuardBook(GuardHost* host, std::function<Result<void>()> save)
      : host_(host), save_(std::move(save)) {}

  // At start-up: what the state file held, then putting it into the kernel. What cannot be is
  // logged, and shown by states().
  void restore(GuardSettings settings) { settings_ = std::move(settings); }
  void start();

  Result<GuardState> attach(const GuardPlace& place);
  Result<void> detach(const std::string& ifname);
  Result<void> deny(const std::vector<IpPrefix>& prefixes);
  Result<void> allow(const std::vector<IpPrefix>& prefixes);  // takes them off the deny list
  Result<void> limit(const std::vector<GuardLimit>& limits);
  Result<void> unlimit(const std::vector<SocketAddress>& destinations);
  // `nodectl detach --all` took the guard from every interface; rules stay.
  void forget_places() { settings_.places.clear(); }

  const GuardSettings& settings() const { return settings_; }
  GuardHost* host() const { return host_; }

 private:
  Result<void> require_host(const std::string& what) const;
  Result<void> put_rules(const GuardSettings& settings);
  Result<void> commit(GuardSettings next);

  GuardHost* host_;
  std::function<Result<void>()> save_;
  GuardSettings settings_;
};

}  // namespace np::control
