// SPDX-License-Identifier: Apache-2.0
// What the compiler learns from when it optimizes the request path (tools/release): every kind of
// request, so that none is taken for rare. How often a kind comes is how much it matters that it is
// fast. Needs no root; ends by itself.
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/every_kind.h"

namespace np::test {
namespace {

void be_a_client(uint16_t port) {
  constexpr int kConnections = 500;
  Client client(port);
  const std::vector<RequestKind> kinds = every_kind();
  for (const RequestKind& kind : kinds) {
    for (int i = 0; i < kind.count; ++i) NP_CHECK(ask(client, kind));
  }
  for (int i = 0; i < kConnections; ++i) {
    Client once(port);
    NP_CHECK(ask(once, kinds.front()));
  }
}

// Policy is loaded rarely, and then it is large and must be in effect within a second.
void load_large_policy() {
  constexpr int kRoutes = 5000;
  std::string yaml = std::string(kOriginPolicy) + kNoRoutesYet;
  for (int i = 0; i < kRoutes; ++i) {
    yaml += "  - {match: [{uri: {exact: /route/" + std::to_string(i) +
            "}}], route: [{destination: {host: origin.internal}}]}\n";
  }
  set_placeholder(yaml, "GATEWAY", "8080");
  set_placeholder(yaml, "ORIGIN", "9080");
  const auto snapshot = compile_text(yaml);
  std::printf("a policy of %zu routes\n", snapshot->routes.size());
  NP_CHECK(snapshot->routes.size() >= kRoutes);
}

void run(bool has_every_feature) {
  constexpr int kClients = 6;
  KindsStage stage(has_every_feature);
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) clients.emplace_back(be_a_client, stage.port);
  for (std::thread& client : clients) client.join();
  stage.pool->stop();
  std::printf("%llu requests, %llu of them answered by the origin\n",
              static_cast<unsigned long long>(stage.counters.downstream_rq_completed),
              static_cast<unsigned long long>(stage.origin.requests()));
  NP_CHECK(stage.origin.requests() == stage.counters.downstream_rq_completed);
}

}  // namespace
}  // namespace np::test

int main() {
  np::test::run(false);
  np::test::run(true);
  np::test::load_large_policy();
}
