// SPDX-License-Identifier: Apache-2.0
// The limit as files say it: cgroup v2, v1, both, none.
#include "overload/memory_limit.h"

#include <gtest/gtest.h>

#include "tests/unit/overload/file_tree.h"

namespace np::overload {
namespace {

constexpr uint64_t kMebi = 1024 * 1024;

class MemoryLimitTest : public testing::Test {
 protected:
  MemoryLimitTest() { tree_.write("proc/meminfo", "MemTotal:       8388608 kB\nMemFree: 1 kB\n"); }
  MemoryLimit find() { return find_memory_limit(tree_.files()); }
  FileTree tree_;
};

TEST_F(MemoryLimitTest, V2OwnGroup) {
  tree_.write("proc/self/cgroup", "0::/kubepods/pod1/main\n");
  tree_.write("cgroup/kubepods/pod1/main/memory.max", "268435456\n");
  const MemoryLimit limit = find();
  EXPECT_EQ(limit.bytes, 256 * kMebi);
  EXPECT_EQ(limit.source, "memory.max of cgroup /kubepods/pod1/main");
  EXPECT_EQ(limit.directory, tree_.path("cgroup/kubepods/pod1/main"));
  EXPECT_FALSE(limit.is_v1);
}

TEST_F(MemoryLimitTest, V2TheSmallestOfAllAncestors) {
  tree_.write("proc/self/cgroup", "0::/a/b/c\n");
  tree_.write("cgroup/a/b/c/memory.max", "max\n");
  tree_.write("cgroup/a/b/memory.max", "104857600\n");
  tree_.write("cgroup/a/memory.max", "209715200\n");
  const MemoryLimit limit = find();
  EXPECT_EQ(limit.bytes, 100 * kMebi);
  EXPECT_EQ(limit.source, "memory.max of cgroup /a/b");
}

// With a cgroup namespace the own group is the root of what is seen.
TEST_F(MemoryLimitTest, V2InAContainer) {
  tree_.write("proc/self/cgroup", "0::/\n");
  tree_.write("cgroup/memory.max", "134217728\n");
  EXPECT_EQ(find().bytes, 128 * kMebi);
  tree_.write("proc/self/cgroup", "0::/../other\n");
  EXPECT_EQ(find().bytes, 128 * kMebi);
}

TEST_F(MemoryLimitTest, V1) {
  tree_.write("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/jobs/one\n0::/\n");
  tree_.write("cgroup/memory/jobs/one/memory.limit_in_bytes", "536870912\n");
  tree_.write("cgroup/memory/jobs/memory.limit_in_bytes", "9223372036854771712\n");
  const MemoryLimit limit = find();
  EXPECT_EQ(limit.bytes, 512 * kMebi);
  EXPECT_TRUE(limit.is_v1);
  EXPECT_EQ(limit.source, "memory.limit_in_bytes of cgroup /jobs/one");
}

// Without a cgroup namespace the path is the host's, and the mount shows the container's group.
TEST_F(MemoryLimitTest, V1WhereOnlyTheRootIsVisible) {
  tree_.write("proc/self/cgroup", "4:memory:/docker/0123\n");
  tree_.write("cgroup/memory/memory.limit_in_bytes", "536870912\n");
  EXPECT_EQ(find().bytes, 512 * kMebi);
}

TEST_F(MemoryLimitTest, V2BesideV1) {
  tree_.write("proc/self/cgroup", "4:memory:/\n0::/u\n");
  tree_.write("cgroup/unified/u/memory.max", "268435456\n");
  EXPECT_EQ(find().bytes, 256 * kMebi);
}

TEST_F(MemoryLimitTest, NoneIsTheMachine) {
  tree_.write("proc/self/cgroup", "4:memory:/x\n0::/\n");
  tree_.write("cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n");
  tree_.write("cgroup/memory.max", "max\n");
  const MemoryLimit limit = find();
  EXPECT_EQ(limit.bytes, 8192 * kMebi);
  EXPECT_EQ(limit.source, "the machine's memory");
  EXPECT_EQ(limit.directory, "");
}

TEST_F(MemoryLimitTest, ALimitAboveTheMachineLimitsNothing) {
  tree_.write("proc/self/cgroup", "0::/\n");
  tree_.write("cgroup/memory.max", "99999999999\n");
  EXPECT_EQ(find().source, "the machine's memory");
}

TEST_F(MemoryLimitTest, NothingThatCanBeRead) {
  const MemoryFiles nowhere{tree_.path("none"), tree_.path("none")};
  EXPECT_EQ(find_memory_limit(nowhere).bytes, 0u);
  tree_.write("proc/self/cgroup", "garbage\n::::\n0:\n");
  tree_.write("cgroup/memory.max", "soon\n");
  EXPECT_EQ(find().source, "the machine's memory");
}

TEST(WorkingSet, IsWhatTheKernelCannotTakeBack) {
  const std::string v2 =
      "anon 50\nfile 30\nslab_reclaimable 5\nactive_file 10\ninactive_file 15\nsock 7\n";
  EXPECT_EQ(working_set("100\n", v2, false), 70u);
  const std::string v1 = "cache 30\nactive_file 1\ntotal_inactive_file 20\ntotal_active_file 10\n";
  EXPECT_EQ(working_set("100\n", v1, true), 70u);
  EXPECT_EQ(working_set("100\n", "", false), 100u);
  EXPECT_EQ(working_set("10\n", v2, false), 0u) << "read one after the other: they may not agree";
  EXPECT_EQ(working_set("", v2, false), 0u);
}

TEST(ParseBytes, TakesWhatKubernetesTakes) {
  EXPECT_EQ(parse_bytes("1").value(), 1u);
  EXPECT_EQ(parse_bytes("268435456").value(), 256 * kMebi);
  EXPECT_EQ(parse_bytes("512Mi").value(), 512 * kMebi);
  EXPECT_EQ(parse_bytes("512MiB").value(), 512 * kMebi);
  EXPECT_EQ(parse_bytes("1.5Gi").value(), 1536 * kMebi);
  EXPECT_EQ(parse_bytes("500M").value(), 500'000'000u);
  EXPECT_EQ(parse_bytes("2Ti").value(), 2 * kMebi * kMebi);
}

TEST(ParseBytes, RefusesTheRest) {
  for (const char* text :
       {"", "0", "-1", "512MB", "Mi", "12 Mi", "0.1", "nan", "inf", "1e30", "99999999Ti", "5Mi5"}) {
    const auto parsed = parse_bytes(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_NE(parsed.error().to_string().find("512Mi"), std::string::npos);
  }
}

}  // namespace
}  // namespace np::overload
