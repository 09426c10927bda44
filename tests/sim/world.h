// SPDX-License-Identifier: Apache-2.0
// World: everything that one seed stands for: a network, its weather, a policy and its changes,
// clients and origins, and the promises that must hold at every step and at rest.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/peers.h"
#include "tests/support/policy_fixture.h"

namespace np::sim {

class World {
 public:
  explicit World(uint64_t seed);
  void populate();
  // Runs to rest and looks at what is left. False: it does not come to rest.
  bool run();

  SimNetwork& network() { return *network_; }
  const Ledger& ledger() const { return ledger_; }
  // What was promised and not kept.
  const std::vector<std::string>& violations() const { return ledger_.violations; }
  std::string description() const;

 private:
  // world.cc
  void serve_origins();
  Plan make_plan();
  void add_client();
  void add_websocket();
  void add_echo();
  void connect_later(Peer& peer, Duration after, const proxy::Accepted& accepted,
                     std::function<void()> start);
  // world_policy.cc
  void load_policy();
  void add_limits(policy::Cluster& web, policy::Cluster& db, Rng& draws);
  void add_outlier(policy::Cluster& web, Rng& draws);
  policy::Cluster& add_web_cluster(test::PolicyFixture& policy, Rng& draws);
  void add_faults(policy::Route& route, policy::Cluster& web, Rng& draws);
  // world_check.cc
  void watch();
  void check_rest();
  void check_limits();
  void check_ejections();
  void expect(bool holds, const std::string& what);
  void expect_equal(uint64_t a, uint64_t b, const std::string& what);
  void expect_at_most(uint64_t a, uint64_t b, const std::string& what);

  Rng dice_;
  Rng policy_dice_{0};
  Weather weather_;
  proxy::EngineLimits limits_;
  Ledger ledger_;
  std::vector<std::unique_ptr<Peer>> peers_;
  std::vector<Origin*> origins_;
  bool restarts_ = false;  // the origins restart once; a client must not notice
  bool leaves_ = false;    // some clients vanish
  bool limited_ = false, ejects_ = false;
  bool has_broken_ = false;      // the first web origin only fails
  bool changes_limits_ = false;  // with each policy
  std::unique_ptr<SimNetwork> network_;
  uint64_t next_id_ = 1;

  // What the policies so far have allowed at most, and what the latest says.
  uint32_t most_requests_ = 0, most_retries_ = 0, most_tcp_ = 0;
  policy::ConnectionPool latest_pool_;
  std::optional<policy::Outlier> outlier_;
};

}  // namespace np::sim
