// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/world.h"

#include "tests/sim/places.h"

namespace np::sim {

using std::chrono::milliseconds;

World::World(uint64_t seed) : dice_(seed) {
  ledger_.clean = dice_.below(3) == 0;
  limited_ = dice_.below(3) == 0;
  ejects_ = dice_.below(3) == 0;
  restarts_ = dice_.below(2) == 0;
  weather_.small_chunks = dice_.below(3) == 0 ? 60 : 5;
  weather_.slow_reader = dice_.below(4) == 0 ? 30 : 0;
  if (!ledger_.clean) {
    weather_.refuse_percent = dice_.below(10);
    weather_.swallow_percent = dice_.below(3);
    weather_.reset_per_mille = dice_.below(4) == 0 ? 10 : 0;
    weather_.late_timer_percent = dice_.below(4) == 0 ? 5 : 0;
    leaves_ = dice_.below(2) == 0;
    has_broken_ = ejects_ && dice_.below(2) == 0;
    changes_limits_ = dice_.below(2) == 0;
  }
  if (has_broken_) {
    // A request that is lost on its way, or whose client has left, may be asked again.
    weather_.reset_per_mille = 0;
    leaves_ = restarts_ = false;
  }
  limits_.lend_idle_after = std::chrono::milliseconds(4 * dice_.below(4));
  network_ = std::make_unique<SimNetwork>(seed * 3 + 1, 1 + dice_.below(3), weather_, limits_);
  if (limited_) network_->watch([this] { watch(); });
  serve_origins();
  policy_dice_ = Rng(dice_.next());
  load_policy();
}

void World::serve_origins() {
  for (const char* address : kWeb) {
    const bool broken = has_broken_ && address == kWeb[0];
    network_->serve(SocketAddress::parse(address).value(), [this, broken] {
      auto origin = std::make_unique<Origin>(*network_, ledger_);
      origin->broken = broken;
      origins_.push_back(origin.get());
      peers_.push_back(std::move(origin));
      return peers_.back().get();
    });
  }
  network_->serve(SocketAddress::parse(kChat).value(), [this] {
    peers_.push_back(std::make_unique<WebsocketOrigin>(*network_));
    return peers_.back().get();
  });
  for (const char* address : kDatabase) {
    network_->serve(SocketAddress::parse(address).value(), [this] {
      peers_.push_back(std::make_unique<EchoOrigin>(*network_, ledger_, "ready\n"));
      return peers_.back().get();
    });
  }
}

// ---- clients ---------------------------------------------------------------------------------

Plan World::make_plan() {
  static constexpr Deed kGood[] = {Deed::kLength, Deed::kLength,  Deed::kChunked,   Deed::kSlow,
                                   Deed::kClose,  Deed::kInterim, Deed::kUntilClose};
  static constexpr Deed kBad[] = {Deed::kEarly, Deed::kStale,      Deed::kError,
                                  Deed::kCut,   Deed::kReset,      Deed::kGarbage,
                                  Deed::kHang,  Deed::kCutChunked, Deed::kStale};
  Plan plan;
  plan.id = next_id_;
  next_id_ += 2;
  static constexpr const char* kMethods[] = {"GET", "GET", "GET", "HEAD", "POST", "PUT"};
  // A restart goes unnoticed if the request can be repeated: the first four have no body.
  const bool repeatable = ledger_.clean && restarts_;
  plan.method = kMethods[dice_.below(repeatable ? 4 : 6)];
  plan.deed = !ledger_.clean && dice_.below(3) == 0 ? kBad[dice_.below(9)] : kGood[dice_.below(7)];
  plan.answer_size = dice_.below(20) == 0 ? dice_.below(200'000) : dice_.below(3000);
  plan.body_size = dice_.below(20) == 0 ? dice_.below(200'000) : dice_.below(2000);
  plan.chunked = dice_.below(2) == 0;
  plan.expect = dice_.below(8) == 0;
  return plan;
}

void World::connect_later(Peer& peer, Duration after, const proxy::Accepted& accepted,
                          std::function<void()> start) {
  network_->later(after, [this, &peer, accepted, start = std::move(start)] {
    network_->connect(peer, accepted);
    start();
  });
}

void World::add_client() {
  std::vector<Plan> plans;
  for (uint32_t n = 1 + dice_.below(20); n > 0; --n) plans.push_back(make_plan());
  const bool pipelines = dice_.below(4) == 0;
  if (pipelines) {
    for (Plan& plan : plans) plan.expect = false;
  }
  auto owned = std::make_unique<Client>(*network_, ledger_, std::move(plans));
  Client& client = *owned;
  peers_.push_back(std::move(owned));
  client.pipelines = pipelines;
  client.finishes = dice_.below(3) == 0;
  client.old = !pipelines && dice_.below(8) == 0;
  if (leaves_) client.leave_percent = dice_.below(2) == 0 ? 10 : 0;
  client.caller = dice_.below(kCallers);
  proxy::Accepted accepted;
  accepted.captured = client.caller != 0;
  accepted.local = SocketAddress::parse(accepted.captured ? kService : kBind).value();
  accepted.peer = {IpAddress::parse(kCallerAddresses[client.caller]).value(), 1234};
  connect_later(client, milliseconds(dice_.below(50)), accepted, [&client] { client.start(); });
}

void World::add_websocket() {
  auto owned = std::make_unique<WebsocketClient>(*network_, ledger_, next_id_, dice_.below(80'000));
  WebsocketClient& client = *owned;
  peers_.push_back(std::move(owned));
  proxy::Accepted accepted;
  accepted.local = SocketAddress::parse(kBind).value();
  accepted.peer = SocketAddress::parse("10.2.0.3:999").value();
  connect_later(client, milliseconds(7), accepted, [&client] { client.start(); });
}

void World::add_echo() {
  auto owned =
      std::make_unique<EchoClient>(*network_, ledger_, next_id_, dice_.below(100'000), "ready\n");
  EchoClient& client = *owned;
  peers_.push_back(std::move(owned));
  proxy::Accepted accepted;
  accepted.captured = true;
  accepted.local = SocketAddress::parse(kTcpService).value();
  accepted.peer = SocketAddress::parse("10.2.0.2:999").value();
  connect_later(client, milliseconds(5), accepted, [&client] { client.start(); });
}

void World::populate() {
  if (restarts_) {
    network_->later(milliseconds(dice_.below(400)), [this] {
      for (Origin* origin : origins_) origin->restart();
    });
  }
  for (uint32_t count = 4 + dice_.below(12); count > 0; --count) add_client();
  for (uint32_t i = dice_.below(4); i > 0; --i) {
    network_->later(milliseconds(dice_.below(400)), [this] { load_policy(); });
  }
  if (!ledger_.clean && dice_.below(10) == 0) {
    network_->later(milliseconds(dice_.below(300)), [this] { network_->drain(); });
  }
  if (dice_.below(3) == 0) add_websocket();
  if (dice_.below(3) == 0) {
    for (uint32_t i = limited_ ? kEchoClientsMax : 1; i > 0; --i) add_echo();
  }
}

bool World::run() {
  const bool rests = network_->run(std::chrono::hours(3));
  if (rests) check_rest();
  return rests;
}

std::string World::description() const {
  std::string text = ledger_.clean ? "clean" : "not clean";
  text += ", " + std::to_string(network_->shards()) + " shards";
  if (limited_) text += ", limits";
  if (changes_limits_) text += " that change";
  if (ejects_) text += ", ejection";
  if (has_broken_) text += " of a broken origin";
  return text;
}

}  // namespace np::sim
