// SPDX-License-Identifier: Apache-2.0
#include "uring/inbox.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace np::uring {
namespace {

struct Message {
  uint32_t writer = 0;
  uint32_t number = 0;
  std::unique_ptr<uint32_t> owned;
};

TEST(Inbox, KeepsOrderAndRefusesWhenFull) {
  Inbox<Message> inbox(Waker::create().value(), 4);
  for (uint32_t i = 0; i < 4; ++i) EXPECT_TRUE(inbox.try_push({0, i, nullptr}));
  Message extra{0, 99, std::make_unique<uint32_t>(1)};
  EXPECT_FALSE(inbox.try_push(std::move(extra)));
  EXPECT_NE(extra.owned, nullptr);  // a refused message stays with its writer
  for (uint32_t i = 0; i < 4; ++i) EXPECT_EQ(inbox.try_pop()->number, i);
  EXPECT_FALSE(inbox.try_pop().has_value());
  EXPECT_TRUE(inbox.try_push(std::move(extra)));
  EXPECT_EQ(inbox.try_pop()->number, 99U);
}

TEST(Inbox, ManyWritersOneSleepingReader) {
  constexpr uint32_t kWriters = 4;
  constexpr uint32_t kEach = 20'000;
  Inbox<Message> inbox(Waker::create().value(), 64);
  std::vector<std::thread> writers;
  for (uint32_t writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&inbox, writer] {
      for (uint32_t number = 0; number < kEach; ++number) {
        Message message{writer, number, std::make_unique<uint32_t>(number)};
        while (!inbox.try_push(std::move(message))) std::this_thread::yield();
      }
    });
  }
  std::vector<uint32_t> next(kWriters, 0);
  uint32_t received = 0;
  while (received < kWriters * kEach) {
    inbox.waker().wait();  // would hang if a wake-up were lost
    inbox.waker().acknowledge();
    while (auto message = inbox.try_pop()) {
      ASSERT_EQ(message->number, next[message->writer]++);
      ASSERT_EQ(*message->owned, message->number);
      ++received;
    }
  }
  for (std::thread& writer : writers) writer.join();
}

}  // namespace
}  // namespace np::uring
