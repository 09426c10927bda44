// SPDX-License-Identifier: Apache-2.0
// Question: four clients of one shard make all the load, four of the other one are silent: what
// does the second shard bring, with and without moves between them? Baseline: one worker, and two
// that move nothing. Noise: clients and origin are threads of this process and want the same CPUs;
// the order changes nothing, so read several rounds. Needs no root.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "proxy/counters.h"
#include "shard/shard_pool.h"
#include "tests/support/policy_fixture.h"
#include "tests/unit/shard/client.h"
#include "tests/unit/shard/origin.h"

namespace np::shard {
namespace {

using namespace std::chrono_literals;
using test::Client;
using Clients = std::vector<std::unique_ptr<Client>>;

constexpr const char* kRequest = "GET /hello HTTP/1.1\r\nHost: test\r\n\r\n";
constexpr size_t kBusyClients = 4;
constexpr int kRounds = 3;

struct Setting {
  const char* name;
  uint32_t workers;
  bool moves;
};
constexpr Setting kSettings[] = {
    {"1 worker", 1, false}, {"2 workers, nothing moves", 2, false}, {"2 workers", 2, true}};

// Sends `count` requests in one piece and reads their answers, which end in "hello".
bool ask(Client& client, int count) {
  std::string many;
  for (int i = 0; i < count; ++i) many += kRequest;
  if (!client.send(many)) return false;
  int answers = 0;
  for (std::string input; answers < count;) {
    const std::string bytes = client.receive();
    if (bytes.empty() || client.last_errno() != 0) return false;
    input += bytes;
    for (size_t at = 0; (at = input.find("\r\n\r\nhello")) != std::string::npos; ++answers) {
      input.erase(0, at + 9);
    }
  }
  return true;
}

// CPU seconds of the shards' threads, in order.
std::vector<double> shard_cpu() {
  std::vector<std::pair<std::string, double>> found;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::ifstream(task.path() / "comm") >> name;
    double ns = 0;
    std::ifstream(task.path() / "schedstat") >> ns;
    if (name.starts_with("np-shard-")) found.emplace_back(name, ns / 1e9);
  }
  std::sort(found.begin(), found.end());
  std::vector<double> seconds;
  for (const auto& [name, used] : found) seconds.push_back(used);
  return seconds;
}

// The clients of shard 0, known by whose CPU time grows with their requests.
Clients clients_of_first_shard(Clients& all) {
  Clients found;
  for (std::unique_ptr<Client>& client : all) {
    const std::vector<double> before = shard_cpu();
    for (int i = 0; i < 300; ++i) (void)ask(*client, 1);
    const std::vector<double> after = shard_cpu();
    const bool is_second = after.size() > 1 && after[1] - before[1] > after[0] - before[0];
    if (!is_second && found.size() < kBusyClients) found.push_back(std::move(client));
  }
  return found;
}

void run(const Setting& setting, int batch) {
  test::Origin origin;
  std::vector<proxy::EngineCounters> counters(setting.workers);
  ShardPoolOptions options;
  options.workers = setting.workers;
  options.pin_threads = true;
  options.limits.balance.is_on = setting.moves;
  for (proxy::EngineCounters& one : counters) options.engine_counters.push_back(&one);
  const auto pool = ShardPool::create(std::move(options)).value();
  Fd listener = open_listener(*SocketAddress::parse("127.0.0.1:0")).value();
  const SocketAddress bind = local_address(listener.get()).value();
  test::PolicyFixture policy;
  test::PrefixTable& table = policy.add_table();
  policy::Cluster& cluster = policy.add_cluster("origin", {origin.address()});
  table.entries.emplace_back("/", &policy.add_route(&cluster));
  policy.listen(bind.to_string(), &table);
  if (!pool->publish(policy.snapshot) || !pool->add_gateway_listener(bind, std::move(listener)) ||
      !pool->start()) {
    return;
  }
  Clients all;
  for (size_t i = 0; i < 2 * kBusyClients; ++i) {
    all.push_back(std::make_unique<Client>(bind.port));
    (void)ask(*all.back(), 1);
  }
  Clients busy = clients_of_first_shard(all);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> answers{0};
  std::vector<std::vector<double>> times(busy.size());
  std::vector<std::thread> threads;
  const auto ask_on = [&](size_t i) {
    while (!stop) {
      const Instant begin = monotonic_now();
      if (!ask(*busy[i], batch)) return;
      times[i].push_back(static_cast<double>((monotonic_now() - begin).count()) / 1e3);
      answers += static_cast<uint64_t>(batch);
    }
  };
  for (size_t i = 0; i < busy.size(); ++i) threads.emplace_back(ask_on, i);
  std::this_thread::sleep_for(2s);  // whatever moves has moved
  const uint64_t before = answers;
  const std::vector<double> cpu_before = shard_cpu();
  const Instant begin = monotonic_now();
  std::this_thread::sleep_for(4s);
  const double seconds = static_cast<double>((monotonic_now() - begin).count()) / 1e9;
  const uint64_t done = answers - before;
  const std::vector<double> cpu_after = shard_cpu();
  stop = true;
  for (std::thread& thread : threads) thread.join();
  std::vector<double> rest;
  for (const std::vector<double>& one : times) {
    rest.insert(rest.end(), one.begin() + static_cast<std::ptrdiff_t>(one.size() / 3), one.end());
  }
  std::sort(rest.begin(), rest.end());
  if (rest.empty()) return;
  std::printf("%-25s %zu clients x %d: %6.0f requests/s, p50 %5.0f us, p99 %5.0f us, CPU",
              setting.name, busy.size(), batch, static_cast<double>(done) / seconds,
              rest[rest.size() / 2], rest[rest.size() * 99 / 100]);
  for (size_t i = 0; i < cpu_after.size(); ++i) {
    std::printf(" %.0f%%", 100 * (cpu_after[i] - cpu_before[i]) / seconds);
  }
  const ShardCounters seen = pool->counters();
  std::printf(", moved %llu, upstream connections opened %llu\n",
              static_cast<unsigned long long>(seen.moved_away),
              static_cast<unsigned long long>(seen.upstream_opened));
  (void)std::fflush(stdout);
  pool->stop();
}

}  // namespace
}  // namespace np::shard

int main() {
  for (int round = 0; round < np::shard::kRounds; ++round) {
    for (const int batch : {1, 8}) {
      for (const np::shard::Setting& setting : np::shard::kSettings) {
        np::shard::run(setting, batch);
      }
    }
  }
}
