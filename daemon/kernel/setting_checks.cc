// SPDX-License-Identifier: Apache-2.0
// Settings of the proxy namespace and of the host, and the pair of interfaces between them.
#include <algorithm>

#include "base/printable.h"
#include "kernel/netlink.h"
#include "kernel/node_checks.h"
#include "kernel/proxy_netns.h"
#include "kernel/sysctl.h"

namespace np::kernel {

namespace {

using control::Check;
using Level = Check::Level;

constexpr const char* kArea = "sysctls";

std::string set_command(const std::string& path, const std::string& value) {
  return "sysctl -w " + shell_word(sysctl_name(path) + "=" + value);
}

void check_inside(const NodeView& view, Checks& checks) {
  const std::string& instance = view.names.instance;
  size_t good = 0;
  const size_t before = checks.size();
  for (const Sysctl& wanted : proxy_sysctls()) {
    const std::optional<std::string> value = read_sysctl(wanted.path);
    if (!value) continue;  // this kernel has no such setting, or no IPv6
    if (fits(wanted, *value)) {
      ++good;
      continue;
    }
    Check check;
    check.level = wanted.required ? Level::kFail : Level::kWarn;
    check.area = kArea;
    check.subject = "namespace " + instance;
    check.found = sysctl_name(wanted.path) + " is " + *value + ", it must be " + wanted.value;
    check.commands = {"ip netns exec " + instance + " " + set_command(wanted.path, wanted.value)};
    checks.push_back(std::move(check));
  }
  if (checks.size() != before) return;
  Check check;
  check.area = kArea;
  check.subject = "namespace " + instance;
  check.found = std::to_string(good) + " settings are as the daemon wrote them";
  checks.push_back(std::move(check));
}

struct HostSetting {
  std::string path;
  std::string bad;     // the one value that hurts
  std::string effect;  // of it
  std::string better;
};

void check_host_setting(const HostSetting& setting, Checks& checks) {
  const std::optional<std::string> value = read_sysctl(setting.path);
  if (!value) return;
  Check check;
  check.area = kArea;
  check.subject = "host";
  check.found = sysctl_name(setting.path) + " is " + *value;
  if (*value == setting.bad) {
    check.level = Level::kWarn;
    check.found += ": " + setting.effect;
    check.commands = {set_command(setting.path, setting.better)};
  }
  checks.push_back(std::move(check));
}

// The higher of the two counts, but loose (2) on the interface wins over strict (1) for all.
void check_np0_filter(const NodeView& view, Checks& checks) {
  const std::string path = "net/ipv4/conf/" + view.names.np0 + "/rp_filter";
  const std::optional<std::string> own = read_sysctl(path);
  const std::optional<std::string> all = read_sysctl("net/ipv4/conf/all/rp_filter");
  if (!own || !all) return;
  const std::string effective = std::max(*own, *all);
  if (effective == "1") {
    check_host_setting({path, "1", "packets with a pod's address are dropped", "2"}, checks);
    return;
  }
  Check check;
  check.area = kArea;
  check.subject = "host";
  check.found = "reverse-path filter of " + view.names.np0 + " is " + effective;
  checks.push_back(std::move(check));
}

void check_host(const NodeView& view, Checks& checks) {
  const bool has_v6_pod = std::any_of(view.pods.begin(), view.pods.end(), [](const PodRecord& pod) {
    return std::any_of(pod.request.ips.begin(), pod.request.ips.end(),
                       [](const IpAddress& ip) { return !ip.is_v4(); });
  });
  check_host_setting({"net/ipv4/ip_forward", "0", "what is not captured leaves no pod", "1"},
                     checks);
  if (has_v6_pod) {
    check_host_setting(
        {"net/ipv6/conf/all/forwarding", "0", "what is not captured leaves no pod", "1"}, checks);
  }
  check_np0_filter(view, checks);
  check_host_setting({"net/core/bpf_jit_enable", "0", "eBPF is interpreted, which costs CPU", "1"},
                     checks);
}

void check_np0(const NodeView& view, Checks& checks) {
  Result<Netlink> netlink = Netlink::open();
  if (!netlink || view.np0_ifindex == 0) return;
  const Result<std::optional<LinkInfo>> np0 = netlink->link(view.np0_ifindex);
  if (!np0 || (*np0 && (*np0)->is_up)) return;
  Check check;
  check.level = Level::kFail;
  check.area = "hooks";
  check.subject = view.names.np0;
  if (!*np0) {
    check.found = "the interface is gone: no answer reaches a pod";
    check.remedy = "restart nodeproxyd: it makes interface and namespace anew";
  } else {
    check.found = "the interface is down: no answer reaches a pod";
    check.commands = {"ip link set dev " + view.names.np0 + " up"};
  }
  checks.push_back(std::move(check));
}

}  // namespace

void check_settings(const NodeView& view, Checks& checks) {
  check_np0(view, checks);
  check_host(view, checks);
  const auto look = [&view, &checks]() -> Result<void> {
    check_inside(view, checks);
    return ok();
  };
  Result<void> looked = Error{ErrorCode::kNotFound, "enter " + view.names.netns_path, "it is gone",
                              "restart nodeproxyd"};
  if (view.proxy_netns >= 0) looked = inside_netns(view.proxy_netns, look);
  if (looked) return;
  Check check;
  check.level = Level::kFail;
  check.area = kArea;
  check.subject = "namespace " + view.names.instance;
  check.found = looked.error().what + ": " + looked.error().detail;
  check.remedy = looked.error().hint;
  checks.push_back(std::move(check));
}

}  // namespace np::kernel
