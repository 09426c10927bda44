// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * np_pod_out: tc egress of each registered pod's host veth. Of all that the host forwards to the
 * pod it takes the answers to upstream sockets of the proxy namespace that use the pod's address
 * (`source: pod`) and whose endpoint is not a pod of this node: those come from an uplink, follow
 * the pod's route, and would end at a pod that knows nothing of them. Everything else goes on.
 *
 * From here bpf_redirect_peer is not to be had, so the frame is sent through np0 and must carry
 * the address of its other end.
 */
#include "bpf/lib/upstream.bpf.h"

static __always_inline int np_send_through_np0(struct __sk_buff *skb,
					       const struct np_config *config,
					       struct np_stats *stats)
{
	if (bpf_skb_store_bytes(skb, 0, config->npx_mac, sizeof(config->npx_mac), 0)) {
		stats->out_err++;
		return NP_DROP;
	}
	stats->out_upstream++;
	return bpf_redirect(config->np0_ifindex, 0);
}

SEC("tc")
int np_pod_out(struct __sk_buff *skb)
{
	struct np_stats *stats = np_stats_here();
	struct np_config *config = np_config_here();
	struct np_packet pkt = {};

	if (!stats || !config)
		return NP_NEXT; /* cannot be: both are arrays */
	/* Before the frame is read: without `source: pod` in any policy there is no band. */
	if (config->band_lo <= config->band_hi && config->np0_ifindex != 0 &&
	    np_parse(skb, &pkt) == NP_PARSE_TCP && np_is_for_upstream(skb, config, &pkt))
		return np_send_through_np0(skb, config, stats);
	stats->out_next++;
	return NP_NEXT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
