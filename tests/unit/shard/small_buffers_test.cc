// SPDX-License-Identifier: Apache-2.0
#include "shard/small_buffers.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace np::shard {
namespace {

TEST(SmallBuffers, CopiesLiveUntilTheirLastReference) {
  SmallBuffers buffers(4);
  std::string text = "GET / HTTP/1.1\r\n\r\n";
  BufferRef first = buffers.copy(text, 3);
  const BufferRef second = first;
  text.assign(text.size(), 'x');
  EXPECT_EQ(std::string(second.get()->data, 18), "GET / HTTP/1.1\r\n\r\n");
  first = BufferRef();
  EXPECT_EQ(buffers.held(3), 1U);
  EXPECT_EQ(buffers.held(0), 0U);
}

TEST(SmallBuffers, AHolderHasAtMostAsManyAsAreLeft) {
  SmallBuffers buffers(3);
  std::vector<BufferRef> first, second;
  while (BufferRef copy = buffers.copy("a", 1)) first.push_back(std::move(copy));
  EXPECT_EQ(first.size(), SmallBuffers::kMax / 2);
  while (BufferRef copy = buffers.copy("b", 2)) second.push_back(std::move(copy));
  EXPECT_EQ(second.size(), SmallBuffers::kMax / 4) << "half of what the first one left";
  first.clear();
  EXPECT_EQ(buffers.held(1), 0U);
  EXPECT_TRUE(buffers.copy("c", 2));
}

}  // namespace
}  // namespace np::shard
