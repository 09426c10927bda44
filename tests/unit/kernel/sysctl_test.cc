// SPDX-License-Identifier: Apache-2.0
// What counts as a setting that is as the daemon wrote it.
#include "kernel/sysctl.h"

#include <gtest/gtest.h>

namespace np::kernel {
namespace {

TEST(SysctlTest, ExactlyOrAtLeast) {
  const Sysctl exact{"net/ipv4/ip_forward", "0", true};
  EXPECT_TRUE(fits(exact, "0"));
  EXPECT_FALSE(fits(exact, "1"));
  const Sysctl least{"net/core/somaxconn", "8192", false, Sysctl::Fit::kAtLeast};
  EXPECT_TRUE(fits(least, "8192"));
  EXPECT_TRUE(fits(least, "16384"));
  EXPECT_FALSE(fits(least, "4096"));
  EXPECT_FALSE(fits(least, ""));
  EXPECT_FALSE(fits(least, "99999 x"));
}

TEST(SysctlTest, ReadsWordsOneBlankApart) {
  const auto range = read_sysctl("net/ipv4/ip_local_port_range");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->find_first_of("\t\n"), std::string::npos);
  EXPECT_NE(range->find(' '), std::string::npos);
  EXPECT_FALSE(read_sysctl("net/ipv4/no_such_setting"));
  EXPECT_EQ(sysctl_name("net/ipv4/conf/npx/rp_filter"), "net.ipv4.conf.npx.rp_filter");
}

}  // namespace
}  // namespace np::kernel
