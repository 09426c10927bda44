// SPDX-License-Identifier: Apache-2.0
// What the worker writes into np_svc and np_cidr, and what a successor makes of it.
#include "kernel/capture_table.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <cstring>

#include "bpf/capture_fixture.h"

namespace np::kernel {
namespace {

class CaptureTableTest : public CaptureFixture {
 protected:
  KernelCaptureTable table() {
    return KernelCaptureTable(loader_->map_fd(Map::kServices), loader_->map_fd(Map::kCidr),
                              loader_->map_fd(Map::kServiceStats));
  }
  // 0: no entry.
  int action_of(const char* address) {
    const SocketAddress target = *SocketAddress::parse(address);
    np_svc_key key{};
    std::memcpy(key.ip, target.ip.bytes.data(), sizeof(key.ip));
    key.port = target.port;
    key.proto = IPPROTO_TCP;
    np_svc value{};
    if (map_lookup(loader_->map_fd(Map::kServices), &key, &value) != 0) return 0;
    return value.action;
  }
  size_t prefix_count() {
    size_t count = 0;
    const MapView<np_cidr_key, np_svc> map(loader_->map_fd(Map::kCidr));
    map.for_each([&count](const np_cidr_key&, const np_svc&) { return ++count > 0; });
    return count;
  }
  static void want(policy::Snapshot& snapshot, const char* address, uint32_t id) {
    snapshot.capture_entries.push_back(
        {*SocketAddress::parse(address), id, policy::FailMode::kOpen, "web.shop"});
  }
};

TEST_F(CaptureTableTest, EntriesAreDrainedNotDeletedAndMayComeBack) {
  if (IsSkipped()) return;
  KernelCaptureTable first = table();
  policy::Snapshot both, one;
  want(both, "10.96.0.1:80", 1);
  want(both, "[fd96::2]:80", 2);
  want(one, "10.96.0.1:80", 1);
  ASSERT_TRUE(first.add(both).has_value());
  ASSERT_TRUE(first.retire(both).has_value());
  EXPECT_EQ(action_of("[fd96::2]:80"), NP_ACTION_CAPTURE);
  ASSERT_TRUE(first.add(one).has_value());
  EXPECT_EQ(action_of("[fd96::2]:80"), NP_ACTION_CAPTURE) << "until the snapshot is published";
  ASSERT_TRUE(first.retire(one).has_value());
  EXPECT_EQ(action_of("10.96.0.1:80"), NP_ACTION_CAPTURE);
  EXPECT_EQ(action_of("[fd96::2]:80"), NP_ACTION_DRAIN);
  ASSERT_TRUE(first.add(both).has_value());
  EXPECT_EQ(action_of("[fd96::2]:80"), NP_ACTION_CAPTURE);
}

TEST_F(CaptureTableTest, SuccessorDrainsWhatItDoesNotWant) {
  if (IsSkipped()) return;
  policy::Snapshot old, now;
  want(old, "10.96.0.1:80", 1);
  ASSERT_TRUE(table().add(old).has_value());
  want(now, "10.96.0.3:80", 3);
  KernelCaptureTable successor = table();
  ASSERT_TRUE(successor.add(now).has_value());
  ASSERT_TRUE(successor.retire(now).has_value());
  EXPECT_EQ(action_of("10.96.0.1:80"), NP_ACTION_DRAIN);
  EXPECT_EQ(action_of("10.96.0.3:80"), NP_ACTION_CAPTURE);
}

TEST_F(CaptureTableTest, FullMapRefusesTheWholeSnapshot) {
  if (IsSkipped()) return;
  policy::Snapshot much;
  want(much, "10.96.0.1:80", 1);
  for (uint32_t i = 0; i <= NP_CIDR_MAX; ++i) {
    IpAddress ip = IpAddress::v4(203, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i), 0);
    much.capture_prefixes.push_back(
        {IpPrefix{ip, 120}, 443, 2, policy::FailMode::kOpen, "outside"});
  }
  KernelCaptureTable full = table();
  const Result<void> result = full.add(much);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::kExhausted) << result.error().to_string();
  EXPECT_EQ(prefix_count(), 0U);
  EXPECT_EQ(action_of("10.96.0.1:80"), 0);
}

}  // namespace
}  // namespace np::kernel
