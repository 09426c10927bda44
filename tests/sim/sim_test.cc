// SPDX-License-Identifier: Apache-2.0
// Seeded worlds. NP_SIM_SEED repeats one world; NP_SIM_FIRST sets the first of many, and
// NP_SIM_EXCHANGES how many requests are made.
#include <gtest/gtest.h>

#include <charconv>
#include <cstdlib>
#include <fstream>

#include "proxy/connection.h"
#include "tests/sim/world.h"

namespace np::sim {
namespace {

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
    ASSERT_TRUE(world.run());
    exchanges += world.ledger().asked;
    const proxy::EngineCounters counters = world.network().counters();
    for (size_t from = 0; from < proxy::kPhaseCount; ++from) {
      for (size_t to = 0; to < proxy::kPhaseCount; ++to) {
        seen[from][to] += counters.phase_transitions[from][to];
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

// What all worlds together have shown, so that none of their promises is kept by never being put to
// the test.
struct Shown {
  uint64_t overflows = 0, waits = 0, admitted = 0, trims = 0, ejections = 0, probation_waits = 0;
  uint64_t loans = 0, panics = 0, none_healthy = 0, refused_repeats = 0, broken = 0,
           tcp_overflows = 0;
  void add(World& world) {
    const proxy::EngineCounters c = world.network().counters();
    overflows += c.ended_overflow;
    loans += world.network().loans();
    waits += c.upstream_rq_waited;
    admitted += c.upstream_rq_admitted;
    trims += c.upstream_cx_trimmed;
    ejections += c.outlier_ejections_enforced_total;
    probation_waits += c.upstream_rq_probation_waits;
    panics += c.lb_healthy_panic;
    none_healthy += c.upstream_cx_none_healthy;
    refused_repeats += c.upstream_rq_retry_overflow;
    broken += world.ledger().asked_of_broken;
    tcp_overflows += c.ended_tcp_overflow;
  }
  bool all() const {
    return loans > 0 && overflows > 0 && waits > 0 && admitted > 0 && trims > 0 && ejections > 0 &&
           probation_waits > 0 && panics > 0 && none_healthy > 0 && refused_repeats > 0 &&
           broken > 0 && tcp_overflows > 0;
  }
  void print() const {
    std::printf(
        "[ shown    ] loans %llu, overflows %llu, waited %llu, admitted %llu, trimmed %llu, tcp "
        "%llu\n",
        to_print(loans), to_print(overflows), to_print(waits), to_print(admitted), to_print(trims),
        to_print(tcp_overflows));
    std::printf(
        "[ shown    ] ejections %llu, probation waits %llu, panic %llu, nobody %llu, "
        "repeats refused %llu, asked of broken %llu\n",
        to_print(ejections), to_print(probation_waits), to_print(panics), to_print(none_healthy),
        to_print(refused_repeats), to_print(broken));
  }
  static unsigned long long to_print(uint64_t value) { return value; }
};

void tell(World& world, uint64_t seed) {
  proxy::for_each_counter(world.network().counters(), [](const char* name, uint64_t value) {
    if (value != 0) std::printf("%s %llu\n", name, static_cast<unsigned long long>(value));
  });
  for (const auto& [status, count] : world.ledger().by_status) {
    std::printf("clients saw %d: %llu\n", status, static_cast<unsigned long long>(count));
  }
  FAIL() << "repeat with NP_SIM_SEED=" << seed << " (" << world.description() << ")";
}

TEST(Sim, WorldsKeepTheirPromises) {
  const uint64_t only = from_environment("NP_SIM_SEED", 0);
  const uint64_t wanted = from_environment("NP_SIM_EXCHANGES", kDefaultExchanges);
  const uint64_t first = only != 0 ? only : from_environment("NP_SIM_FIRST", 1);
  uint64_t exchanges = 0;
  Shown shown;
  for (uint64_t seed = first; exchanges < wanted && (only == 0 || seed == only); ++seed) {
    World world(seed);
    world.populate();
    EXPECT_TRUE(world.run()) << "the world does not come to rest";
    for (const std::string& violation : world.violations()) ADD_FAILURE() << violation;
    exchanges += world.ledger().asked;
    shown.add(world);
    if (HasFailure()) return tell(world, seed);
  }
  shown.print();
  EXPECT_TRUE(only != 0 || shown.all());
}

}  // namespace
}  // namespace np::sim
