// SPDX-License-Identifier: Apache-2.0
// CaptureReplay: what np_pod_in would do with the first SYN of a new connection, found out by
// reading the maps that it reads, in its order (bpf/pod_in.bpf.c, np_on_syn). tests/bpf compares
// the two. Borrows the maps' fds; worker, control thread only.
#pragma once

#include <string>

#include "base/time.h"
#include "control/seams.h"
#include "kernel/kernel_maps.h"

namespace np::kernel {

class CaptureReplay final : public control::CaptureProbe {
 public:
  struct Maps {
    int config = -1, live = -1, pods = -1, pod_totals = -1;
    int services = -1, prefixes = -1, listeners = -1;
  };
  explicit CaptureReplay(const Maps& maps);

  control::CaptureVerdict verdict(const IpAddress& source, uint32_t ifindex,
                                  const SocketAddress& dialled) override;

 private:
  struct Syn;  // one connection on its way through the steps
  bool find_service(Syn& syn) const;
  bool find_pod(Syn& syn) const;
  bool ask_action(Syn& syn) const;
  bool ask_served(Syn& syn) const;
  bool ask_caps(Syn& syn) const;

  MapView<uint32_t, np_config> config_;
  MapView<uint32_t, np_live> live_;
  MapView<np_pod_key, np_pod> pods_;
  MapView<uint32_t, np_podst> totals_;
  MapView<np_svc_key, np_svc> services_;
  MapView<np_cidr_key, np_svc> prefixes_;
  MapView<uint32_t, uint64_t> listeners_;
};

}  // namespace np::kernel
