// SPDX-License-Identifier: Apache-2.0
#include "uring/slot_table.h"

#include <gtest/gtest.h>

#include <set>

#include "uring/user_data.h"

namespace np::uring {
namespace {

struct Thing {
  int value = 5;
};

TEST(UserData, PacksAndUnpacks) {
  const UserData data{0xabcdef, 0xfedcba98, 0x7f};
  EXPECT_EQ(UserData::unpack(data.pack()), data);
  EXPECT_EQ(UserData::unpack(UserData{UserData::kSlotMax, UINT32_MAX, 255}.pack()).slot,
            UserData::kSlotMax);
}

TEST(SlotTable, StaleGenerationIsNotFound) {
  SlotTable<Thing> table(10);
  const uint32_t slot = table.acquire();
  const uint32_t generation = table.generation(slot);
  table.at(slot).value = 9;
  ASSERT_NE(table.find(slot, generation), nullptr);
  table.release(slot);
  EXPECT_EQ(table.find(slot, generation), nullptr);
  EXPECT_EQ(table.acquire(), slot);  // the warm one again
  EXPECT_EQ(table.find(slot, generation), nullptr);
  EXPECT_NE(table.generation(slot), generation);
  EXPECT_EQ(table.at(slot).value, 5);  // and as new
}

TEST(SlotTable, ZeroedUserDataIsStale) {
  SlotTable<Thing> table(1);
  (void)table.acquire();
  EXPECT_EQ(table.find(0, 0), nullptr);
}

TEST(SlotTable, EndsAtItsLimitAndNeverMoves) {
  SlotTable<Thing> table(100);
  std::set<uint32_t> slots;
  Thing* first = nullptr;
  for (int i = 0; i < 100; ++i) {
    const uint32_t slot = table.acquire();
    if (first == nullptr) first = &table.at(slot);
    EXPECT_TRUE(slots.insert(slot).second);
    EXPECT_LT(slot, 100U);
  }
  EXPECT_EQ(table.acquire(), SlotTable<Thing>::kNoSlot);
  EXPECT_EQ(first, &table.at(0));
  EXPECT_EQ(table.used(), 100U);
  EXPECT_EQ(table.find(4000, 1), nullptr);
}

}  // namespace
}  // namespace np::uring
