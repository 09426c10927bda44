// SPDX-License-Identifier: Apache-2.0
// PodFixture: a private host namespace and a pod in it, routed or bridged. CaptureFixture: the same
// with the capture side of a supervisor, without daemon. Each test has its own instance, named
// after it and removed before and after.
#pragma once

#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/socket.h>

#include <functional>
#include <memory>
#include <string>

#include "base/address.h"
#include "base/fd.h"
#include "kernel/hook.h"
#include "kernel/listeners.h"
#include "kernel/loader.h"
#include "kernel/pod_attach.h"
#include "kernel/proxy_netns.h"

namespace np::kernel {

enum class PodKind : uint8_t { kRouted, kBridged };

inline constexpr int kConnectWaitMs = 2000;
inline constexpr auto kTcxIngress =
    static_cast<bpf_attach_type>(46);  // newer than Debian 12's headers
inline constexpr auto kTcxEgress = static_cast<bpf_attach_type>(47);

// Where a pod is: its namespace, the host end of its veth, its addresses.
struct PodPlace {
  std::string netns, veth, v4, v6;
};

// The namespaces of one test.
class PodFixture : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // Pod with 10.77.1.2 and fd77::1:2 behind "vpod"; its gateway is the host. Not registered.
  void make_pod(PodKind kind);
  // Another one: number 2 has 10.77.1.3 and fd77::1:3 behind "vpod2", and so on.
  PodPlace make_routed_pod(int number);
  // Runs `work` in the namespace of pod_, on this thread.
  void in_pod(const std::function<void()>& work);
  // connect() from pod_. 0 or errno; ETIMEDOUT after `wait_ms`.
  int connect_from_pod(const char* address, Fd* socket, uint16_t source_port = 0,
                       int wait_ms = kConnectWaitMs);

  std::string instance_;
  PodPlace pod_;  // the pod that connects
  InstanceNames names_;

 private:
  PodPlace place_of(int number) const;
  void remove_pods() const;
};

class CaptureFixture : public PodFixture {
 protected:
  void SetUp() override;
  void TearDown() override;

  // make_pod(), attached as pod 1 "shop/front".
  void add_pod(PodKind kind, Hook hook);
  // Once a pod was added: one more.
  void register_pod(uint32_t id, const std::string& name, const PodPlace& place);
  // Captures `address` as service 7 "web.shop".
  void capture(const char* address, np_fail fail = NP_FAIL_OPEN,
               np_action action = NP_ACTION_CAPTURE);
  // Writes a heartbeat that is `age` old.
  void beat(Duration age = Duration(0));
  // Accepts from any listener of the proxy namespace; not open after 2 s without a connection.
  Fd accept_any();
  np_stats stats() { return *loader_->read_stats(); }
  // The only record of np_flows, or none.
  bool only_flow(np_flow* flow);

  std::unique_ptr<Loader> loader_;
  std::unique_ptr<ProxyNetns> proxy_;
  ListenerSet listeners_;
  std::unique_ptr<PodTable> pods_;
};

// Runs a command line; its output is shown when it fails.
bool run(const std::string& command);
std::string local_name(int fd);
std::string peer_name(int fd);

}  // namespace np::kernel
