// SPDX-License-Identifier: Apache-2.0
// Seeded worlds. NP_SIM_SEED repeats one world, NP_SIM_EXCHANGES sets how many requests are made.
#include <gtest/gtest.h>

#include <charconv>
#include <cstdlib>
#include <fstream>

#include "proxy/connection.h"
#include "tests/sim/peers.h"
#include "tests/support/policy_fixture.h"

namespace np::sim {
namespace {

constexpr char kService[] = "10.96.0.1:80";
constexpr char kTcpService[] = "10.96.0.2:5432";
constexpr char kBind[] = "0.0.0.0:8080";
constexpr const char* kWeb[] = {"10.1.0.1:80", "10.1.0.2:80", "10.1.0.3:80"};
constexpr char kChat[] = "10.1.0.8:80";
constexpr const char* kDatabase[] = {"10.1.0.9:5432", "10.1.0.10:5432"};

// Sanitizers make everything many times slower; they look for other mistakes than the plain run.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kDefaultExchanges = 20'000;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr uint64_t kDefaultExchanges = 20'000;
#else
constexpr uint64_t kDefaultExchanges = 100'000;
#endif
#else
constexpr uint64_t kDefaultExchanges = 100'000;
#endif

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  if (text == nullptr) return otherwise;
  const std::string_view digits(text);
  uint64_t value = 0;
  const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool whole = error == std::errc() && rest == digits.data() + digits.size();
  EXPECT_TRUE(whole) << name << " is not a number: " << digits;
  return whole ? value : otherwise;
}

struct World {
  explicit World(uint64_t world_seed);
  void load_policy();
  void populate();
  void check();

  uint64_t seed;
  Rng dice;
  Rng policy_dice{0};
  Weather weather;
  proxy::EngineLimits limits;
  Ledger ledger;
  std::vector<std::unique_ptr<Peer>> peers;
  std::vector<Client*> clients;
  std::vector<Origin*> origins;
  bool restarts = false;  // the origins restart once; a client must not notice
  std::unique_ptr<SimNetwork> network;
  uint64_t next_id = 1;
};

World::World(uint64_t world_seed) : seed(world_seed), dice(world_seed) {
  ledger.clean = dice.below(3) == 0;
  weather.small_chunks = dice.below(3) == 0 ? 60 : 5;
  weather.slow_reader = dice.below(4) == 0 ? 30 : 0;
  if (!ledger.clean) {
    weather.refuse_percent = dice.below(10);
    weather.swallow_percent = dice.below(3);
    weather.reset_per_mille = dice.below(4) == 0 ? 10 : 0;
    weather.late_timer_percent = dice.below(4) == 0 ? 5 : 0;
  }
  network = std::make_unique<SimNetwork>(seed * 3 + 1, weather, limits);
  for (const char* address : kWeb) {
    network->serve(SocketAddress::parse(address).value(), [this] {
      auto origin = std::make_unique<Origin>(*network, ledger);
      origins.push_back(origin.get());
      peers.push_back(std::move(origin));
      return peers.back().get();
    });
  }
  network->serve(SocketAddress::parse(kChat).value(), [this] {
    peers.push_back(std::make_unique<WebsocketOrigin>(*network));
    return peers.back().get();
  });
  for (const char* address : kDatabase) {
    network->serve(SocketAddress::parse(address).value(), [this] {
      peers.push_back(std::make_unique<EchoOrigin>(*network, "ready\n"));
      return peers.back().get();
    });
  }
  policy_dice = Rng(dice.next());
  load_policy();
}

policy::Cluster& add_web_cluster(test::PolicyFixture& policy, Rng& dice) {
  policy::Cluster& cluster = policy.add_cluster("web", {kWeb[0], kWeb[1], kWeb[2]});
  cluster.pool.connect_timeout = std::chrono::seconds(3);
  cluster.pool.idle_timeout = std::chrono::seconds(20);
  if (dice.below(4) == 0) cluster.pool.max_requests_per_connection = 1 + dice.below(5);
  if (dice.below(2) == 0) {
    cluster.load_balancing.kind = policy::LoadBalancing::Kind::kLeastRequest;
  }
  return cluster;
}

// The same objects each time, made anew: nothing may notice a reload, and nothing may look at the
// policy before it.
void World::load_policy() {
  Rng draws = policy_dice;
  test::PolicyFixture policy;
  policy::Cluster& cluster = add_web_cluster(policy, draws);
  policy::Route& route = policy.add_route(&cluster);
  if (!ledger.clean) {
    route.timeout = std::chrono::seconds(5);
    if (draws.below(2) == 0) {
      route.retry.attempts = draws.below(4);
      route.retry.on = policy::kRetry5xx | policy::kRetryConnectFailure | policy::kRetryReset;
      if (draws.below(2) == 0) route.retry.per_try_timeout = std::chrono::seconds(1);
    }
    if (draws.below(3) == 0) {
      route.fault.emplace();
      route.fault->delay = policy::Fault::Delay{std::chrono::milliseconds(100), 200'000};
      route.fault->abort = policy::Fault::Abort{418, 100'000};
    }
    if (draws.below(4) == 0) route.mirrors.push_back({&cluster, 300'000});
  }
  test::PrefixTable& table = policy.add_table();
  table.entries.push_back({"/s/", &route});
  policy::Route& upgrade = policy.add_route(&policy.add_cluster("chat", {kChat}));
  upgrade.websocket = true;
  table.entries.push_back({"/ws", &upgrade});
  policy.capture(kService, &table);
  policy.listen(kBind, &table);
  test::PrefixTable& tcp = policy.add_table();
  tcp.entries.push_back(
      {"", &policy.add_route(&policy.add_cluster("db", {kDatabase[0], kDatabase[1]}))});
  policy.capture(kTcpService, &tcp, policy::Protocol::kTcp);
  network->set_snapshot(policy.snapshot);
}

Plan make_plan(World& world) {
  static constexpr Deed kGood[] = {Deed::kLength, Deed::kLength,  Deed::kChunked,   Deed::kSlow,
                                   Deed::kClose,  Deed::kInterim, Deed::kUntilClose};
  static constexpr Deed kBad[] = {Deed::kEarly, Deed::kStale,      Deed::kError,
                                  Deed::kCut,   Deed::kReset,      Deed::kGarbage,
                                  Deed::kHang,  Deed::kCutChunked, Deed::kStale};
  Rng& dice = world.dice;
  Plan plan;
  plan.id = world.next_id;
  world.next_id += 2;
  static constexpr const char* kMethods[] = {"GET", "GET", "GET", "HEAD", "POST", "PUT"};
  // A restart goes unnoticed if the request can be repeated: the first four have no body.
  const bool repeatable = world.ledger.clean && world.restarts;
  plan.method = kMethods[dice.below(repeatable ? 4 : 6)];
  plan.deed =
      !world.ledger.clean && dice.below(3) == 0 ? kBad[dice.below(9)] : kGood[dice.below(7)];
  plan.answer_size = dice.below(20) == 0 ? dice.below(200'000) : dice.below(3000);
  plan.body_size = dice.below(20) == 0 ? dice.below(200'000) : dice.below(2000);
  plan.chunked = dice.below(2) == 0;
  plan.expect = dice.below(8) == 0;
  return plan;
}

void World::populate() {
  restarts = dice.below(2) == 0;
  if (restarts) {
    network->later(std::chrono::milliseconds(dice.below(400)), [this] {
      for (Origin* origin : origins) origin->restart();
    });
  }
  const uint32_t count = 4 + dice.below(12);
  for (uint32_t i = 0; i < count; ++i) {
    std::vector<Plan> plans;
    for (uint32_t n = 1 + dice.below(20); n > 0; --n) plans.push_back(make_plan(*this));
    const bool pipelines = dice.below(4) == 0;
    if (pipelines) {
      for (Plan& plan : plans) plan.expect = false;
    }
    auto client = std::make_unique<Client>(*network, ledger, std::move(plans));
    client->pipelines = pipelines;
    client->finishes = dice.below(3) == 0;
    client->old = !pipelines && dice.below(8) == 0;
    if (!ledger.clean) client->leave_percent = dice.below(3) == 0 ? 10 : 0;
    clients.push_back(client.get());
    Peer* peer = client.get();
    peers.push_back(std::move(client));
    const bool captured = dice.below(2) == 0;
    network->later(std::chrono::milliseconds(dice.below(50)), [this, peer, captured] {
      proxy::Accepted accepted;
      accepted.captured = captured;
      accepted.local = SocketAddress::parse(captured ? kService : kBind).value();
      accepted.peer = SocketAddress::parse("10.2.0.1:1234").value();
      network->connect(*peer, accepted);
      static_cast<Client*>(peer)->start();
    });
  }
  for (uint32_t i = dice.below(4); i > 0; --i) {
    network->later(std::chrono::milliseconds(dice.below(400)), [this] { load_policy(); });
  }
  if (!ledger.clean && dice.below(10) == 0) {
    network->later(std::chrono::milliseconds(dice.below(300)), [this] { network->drain(); });
  }
  if (dice.below(3) == 0) {
    auto socket = std::make_unique<WebsocketClient>(*network, ledger, next_id, dice.below(80'000));
    WebsocketClient* client = socket.get();
    peers.push_back(std::move(socket));
    network->later(std::chrono::milliseconds(7), [this, client] {
      proxy::Accepted accepted;
      accepted.local = SocketAddress::parse(kBind).value();
      accepted.peer = SocketAddress::parse("10.2.0.3:999").value();
      network->connect(*client, accepted);
      client->start();
    });
  }
  if (dice.below(3) != 0) return;
  auto echo =
      std::make_unique<EchoClient>(*network, ledger, next_id, dice.below(100'000), "ready\n");
  EchoClient* client = echo.get();
  peers.push_back(std::move(echo));
  network->later(std::chrono::milliseconds(5), [this, client] {
    proxy::Accepted accepted;
    accepted.captured = true;
    accepted.local = SocketAddress::parse(kTcpService).value();
    accepted.peer = SocketAddress::parse("10.2.0.2:999").value();
    network->connect(*client, accepted);
    client->start();
  });
}

void World::check() {
  for (const std::string& violation : ledger.violations) ADD_FAILURE() << violation;
  const proxy::EngineCounters& c = network->counters();
  EXPECT_EQ(c.downstream_rq_started,
            c.downstream_rq_completed + c.downstream_rq_refused + c.downstream_rq_aborted);
  EXPECT_EQ(c.tcp_cx_started, c.tcp_cx_ended);
  EXPECT_EQ(c.mirror_started, c.mirror_ended);
  EXPECT_EQ(c.upstream_cx_total, c.upstream_cx_destroy);
  EXPECT_EQ(c.downstream_cx_total, c.downstream_cx_destroy);
  const uint64_t answered = c.downstream_rq_completed + c.downstream_rq_refused;
  EXPECT_LE(ledger.answered + ledger.own_answers, answered);
  EXPECT_LE(answered, ledger.answered + ledger.own_answers + ledger.cut);
  EXPECT_EQ(network->engine().open_downstream(), 0U);
  EXPECT_EQ(network->engine().open_upstream(), 0U);
  EXPECT_EQ(network->wires_open(), 0U);
  EXPECT_EQ(network->buffers_out(), 0U);
  EXPECT_EQ(network->engine().next_deadline(), kNever);
  if (ledger.clean) {
    EXPECT_EQ(ledger.answered, ledger.asked);
  }
}

// The block between "<!-- NAME -->" and "<!-- end -->" of docs/exchange.md.
std::string documented(const std::string& name) {
  std::ifstream file(std::string(NP_SOURCE_DIR) + "/docs/exchange.md");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::string mark = "<!-- " + name + " -->\n";
  const size_t begin = text.find(mark);
  if (begin == std::string::npos) return "no block " + name;
  const size_t from = begin + mark.size();
  return text.substr(from, text.find("<!-- end -->", from) - from);
}

template <typename Yes>
std::string table_of(const std::vector<std::string>& names, Yes&& yes) {
  std::string text = "| from \\ to |";
  for (const std::string& name : names) text += " " + name + " |";
  text += "\n|---|";
  for (size_t i = 0; i < names.size(); ++i) text += "---|";
  text += "\n";
  for (size_t from = 0; from < names.size(); ++from) {
    text += "| " + names[from] + " |";
    for (size_t to = 0; to < names.size(); ++to) text += yes(from, to) ? " yes |" : " - |";
    text += "\n";
  }
  return text;
}

TEST(Golden, PhaseChangesThatWereSeenAreTheDocumentedOnes) {
  uint64_t seen[proxy::kPhaseCount][proxy::kPhaseCount] = {};
  uint64_t exchanges = 0;
  for (uint64_t seed = 1; exchanges < 15'000; ++seed) {
    World world(seed);
    world.populate();
    ASSERT_TRUE(world.network->run(std::chrono::hours(3)));
    exchanges += world.ledger.asked;
    for (size_t from = 0; from < proxy::kPhaseCount; ++from) {
      for (size_t to = 0; to < proxy::kPhaseCount; ++to) {
        seen[from][to] += world.network->counters().phase_transitions[from][to];
      }
    }
  }
  const std::vector<std::string> names = {"Decide", "Delay", "Acquire", "Exchange", "Finish"};
  EXPECT_EQ(table_of(names, [&](size_t from, size_t to) { return seen[from][to] != 0; }),
            documented("phases"));
}

TEST(Golden, ConnectionStatesAreTheDocumentedOnes) {
  const std::vector<std::string> names = {"opening", "open", "draining", "closing", "closed"};
  EXPECT_EQ(table_of(names, [](size_t from,
                               size_t to) { return proxy::kConnectionTransitions[from][to]; }),
            documented("connections"));
}

TEST(Sim, WorldsKeepTheirPromises) {
  const uint64_t only = from_environment("NP_SIM_SEED", 0);
  const uint64_t wanted = from_environment("NP_SIM_EXCHANGES", kDefaultExchanges);
  const uint64_t first = only != 0 ? only : 1;
  uint64_t exchanges = 0;
  for (uint64_t seed = first; exchanges < wanted && (only == 0 || seed == only); ++seed) {
    World world(seed);
    world.populate();
    EXPECT_TRUE(world.network->run(std::chrono::hours(3))) << "the world does not come to rest";
    world.check();
    exchanges += world.ledger.asked;
    if (HasFailure()) {
      proxy::for_each_counter(world.network->counters(), [](const char* name, uint64_t value) {
        if (value != 0) std::printf("%s %llu\n", name, static_cast<unsigned long long>(value));
      });
      for (const auto& [status, count] : world.ledger.by_status) {
        std::printf("clients saw %d: %llu\n", status, static_cast<unsigned long long>(count));
      }
      FAIL() << "repeat with NP_SIM_SEED=" << seed << " clean=" << world.ledger.clean;
    }
  }
}

}  // namespace
}  // namespace np::sim
