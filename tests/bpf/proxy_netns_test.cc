// SPDX-License-Identifier: Apache-2.0
// The proxy namespace beside those that `ip netns` makes.
#include "kernel/proxy_netns.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bpf/capture_fixture.h"

namespace np::kernel {
namespace {

class ProxyNetnsTest : public PodFixture {};

// As on a node where nobody has used `ip netns` yet: /run/netns is a plain directory. In a child,
// with a view of the mounts of its own.
int on_a_fresh_node(const InstanceNames& names) {
  if (::unshare(CLONE_NEWNS) != 0) return 1;
  if (::mount("", "/", "none", MS_PRIVATE | MS_REC, nullptr) != 0) return 2;
  while (::umount2("/run/netns", MNT_DETACH) == 0) {
  }
  const bool is_made = ProxyNetns::open_or_create(names).has_value();
  const std::string later = names.instance + "l";
  if (!is_made || !run("ip netns add " + later + " && ip netns delete " + later)) return 3;
  return ProxyNetns::remove(names).has_value() ? 0 : 4;
}

TEST_F(ProxyNetnsTest, CanBeRemovedAfterIpNetnsWasUsedForTheFirstTime) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(on_a_fresh_node(names_));
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_NE(::access(names_.netns_path.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace np::kernel
