// SPDX-License-Identifier: Apache-2.0
#include "metrics/series_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/metrics/reports.h"

namespace np::metrics {
namespace {

std::vector<std::string> names_in(const SeriesMemory& memory) {
  std::vector<std::string> names;
  for_each_slot(memory.clusters(), [&](ClusterSlot& slot) { names.emplace_back(slot.text()); });
  return names;
}

TEST(SeriesStore, TheSameNameIsTheSameSlot) {
  const SeriesMemory memory;
  SeriesStore store(*memory, *memory);
  ClusterCounters& reviews = store.cluster("reviews");
  ClusterCounters& ratings = store.cluster("ratings");
  EXPECT_NE(&reviews, &ratings);
  EXPECT_EQ(&store.cluster(std::string("reviews")), &reviews);
  EXPECT_EQ(&store.request("reviews"), &store.request("reviews"));
  EXPECT_EQ(names_in(memory), (std::vector<std::string>{"reviews", "ratings", "overflow"}));
}

TEST(SeriesStore, ANameThatIsTooLongIsCountedUnderOverflow) {
  const SeriesMemory memory;
  SeriesStore store(*memory, *memory);
  const std::string longest(ClusterSlot::kNameBytesMax, 'a');
  EXPECT_EQ(&store.cluster(longest), &memory->clusters[0].counters);
  EXPECT_EQ(memory->clusters[0].text(), longest);
  EXPECT_EQ(&store.cluster(longest + "a"), &memory->clusters[kClusterSlots - 1].counters);
  EXPECT_EQ(memory->clusters[kClusterSlots - 1].text(), kOverflow);
}

TEST(SeriesStore, AFullTableCountsUnderOverflow) {
  const SeriesMemory memory;
  SeriesStore store(*memory, *memory);
  for (size_t i = 0; i < kClusterSlots - 1; ++i) {
    ASSERT_EQ(&store.cluster(std::to_string(i)), &memory->clusters[i].counters);
  }
  ClusterCounters& overflow = memory->clusters[kClusterSlots - 1].counters;
  EXPECT_EQ(&store.cluster("one more"), &overflow);
  EXPECT_EQ(&store.cluster("another"), &overflow);
  EXPECT_EQ(&store.cluster("17"), &memory->clusters[17].counters);
  const std::vector<std::string> names = names_in(memory);
  EXPECT_EQ(names.size(), kClusterSlots) << "each is visited once";
  SeriesStore successor(*memory, *memory);
  EXPECT_EQ(&successor.cluster("17"), &memory->clusters[17].counters);
  EXPECT_EQ(&successor.cluster("one more"), &overflow);
}

// Two series of one name would make the page of a scrape invalid as a whole.
TEST(SeriesStore, AClusterThatIsNamedOverflowIsNoSecondSeries) {
  const SeriesMemory memory;
  SeriesStore store(*memory, *memory);
  EXPECT_EQ(&store.cluster(kOverflow), &memory->clusters[kClusterSlots - 1].counters);
  EXPECT_EQ(names_in(memory), std::vector<std::string>{"overflow"});
}

TEST(SeriesStore, ASuccessorFindsTheSlotsAndSettlesWhatWasUnderWay) {
  const SeriesMemory memory;
  {
    SeriesStore store(*memory, *memory);
    ClusterCounters& counters = store.cluster("reviews");
    add(counters.upstream_cx_total, 5);
    add(counters.upstream_cx_destroy, 3);
    add(counters.upstream_rq_total, 9);
    add(counters.upstream_rq_ended, 7);
    add(counters.upstream_rq_2xx, 7);
    add(store.cluster(std::string(300, 'x')).upstream_cx_total, 2);
    add(store.request("kind").requests, 4);
  }
  SeriesStore successor(*memory, *memory);
  const ClusterCounters& counters = successor.cluster("reviews");
  EXPECT_EQ(counters.upstream_cx_total, 5U);
  EXPECT_EQ(counters.upstream_cx_destroy, 5U);
  EXPECT_EQ(counters.upstream_rq_ended, 9U);
  EXPECT_EQ(counters.upstream_rq_2xx, 7U);
  EXPECT_EQ(memory->clusters[kClusterSlots - 1].counters.upstream_cx_destroy, 2U);
  EXPECT_EQ(successor.request("kind").requests, 4U);
  successor.cluster("ratings");
  EXPECT_EQ(names_in(memory), (std::vector<std::string>{"reviews", "ratings", "overflow"}));
}

// Pages behind the first free slot are taken away: whoever touches one dies.
TEST(SeriesStore, UnusedSlotsAreNotTouched) {
  const SeriesMemory memory;
  SeriesStore store(*memory, *memory);
  for (const char* name : {"a", "b", "c"}) store.cluster(name);
  constexpr uintptr_t kPage = 4096;
  const uintptr_t begin =
      (reinterpret_cast<uintptr_t>(&memory->clusters[4]) + kPage - 1) / kPage * kPage;
  const uintptr_t end =
      reinterpret_cast<uintptr_t>(&memory->clusters[kClusterSlots - 1]) / kPage * kPage;
  ASSERT_GT(end, begin);
  ASSERT_EQ(::mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_NONE), 0);
  EXPECT_EQ(names_in(memory), (std::vector<std::string>{"a", "b", "c", "overflow"}));
  SeriesStore successor(*memory, *memory);
  EXPECT_EQ(&successor.cluster("b"), &memory->clusters[1].counters);
}

TEST(SeriesStore, AReaderSeesWholeNamesAndNothingGoBack) {
  const SeriesMemory memory;
  SeriesStore store(*memory, *memory);
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (int round = 0; round < 4; ++round) {
      for (size_t i = 0; i < 2000; ++i) {
        const std::string name = "cluster-" + std::to_string(i);
        add(store.cluster(name).upstream_rq_total, 1);
        add(store.request(name).requests, 1);
      }
    }
    done = true;
  });
  std::map<std::string, uint64_t, std::less<>> seen;
  for (bool last = false; !last;) {
    last = done;
    size_t index = 0;
    for_each_slot(memory.requests(), [&](RequestSlot& slot) {
      if (slot.text() == kOverflow) return;
      EXPECT_EQ(slot.text(), "cluster-" + std::to_string(index++));
      uint64_t& before = seen[std::string(slot.text())];
      const uint64_t now = read(slot.counters.requests);
      EXPECT_GE(now, before);
      before = now;
    });
  }
  writer.join();
  ASSERT_EQ(seen.size(), 2000U);
  for (const auto& [name, count] : seen) EXPECT_EQ(count, 4U) << name;
}

}  // namespace
}  // namespace np::metrics
