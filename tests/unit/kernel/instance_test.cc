// SPDX-License-Identifier: Apache-2.0
#include "kernel/instance.h"

#include <gtest/gtest.h>

namespace np::kernel {
namespace {

TEST(Instance, DefaultNamesAreThePromisedOnes) {
  const auto names = name_instance("nodeproxy", "/sys/fs/bpf");
  ASSERT_TRUE(names.has_value());
  EXPECT_EQ(names->np0, "np0");
  EXPECT_EQ(names->netns_path, "/run/netns/nodeproxy");
  EXPECT_EQ(names->pin_base, "/sys/fs/bpf/nodeproxy");
}

TEST(Instance, LongNamesStillMakeInterfaceNames) {
  const auto one = name_instance("a-rather-long-instance-name-1", "/b");
  const auto two = name_instance("a-rather-long-instance-name-2", "/b");
  ASSERT_TRUE(one.has_value() && two.has_value());
  EXPECT_LE(one->np0.size(), 15U);
  EXPECT_NE(one->np0, two->np0);
  EXPECT_EQ(name_instance("two", "/b")->np0, "np0-two");
}

TEST(Instance, NamesThatLeaveTheirDirectoryAreRefused) {
  for (const char* name :
       {"", "..", "a/b", "A", "-x", "a b", "a.b", "an-instance-name-that-is-much-too-long"}) {
    EXPECT_FALSE(name_instance(name, "/b").has_value()) << name;
  }
}

}  // namespace
}  // namespace np::kernel
