// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * np_ret_in: tc ingress of np0, the host end of the veth into the proxy namespace. Hands every
 * segment for a pod of this node straight to that pod's veth, before the host's conntrack could
 * call a SYN-ACK without a SYN invalid. The rest (upstream traffic that leaves the node) is routed
 * by the host.
 *
 * It writes the frame's addresses itself, because redirect_neigh alone fails for a veth that is a
 * bridge port: its neighbour entries belong to the bridge (design.md 8.4).
 */
#include "bpf/lib/flow.bpf.h"

static __always_inline int np_is_known(const __u8 *mac)
{
	return mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5];
}

static __always_inline int np_to_pod(struct __sk_buff *skb, const struct np_pod *pod,
				     const struct np_podst *podst, struct np_stats *stats)
{
	__u8 macs[12]; /* destination, source */

	if (podst && np_is_known(podst->mac)) {
		__builtin_memcpy(macs, podst->mac, 6);
		__builtin_memcpy(macs + 6, podst->gw_mac, 6);
	} else if (np_is_known(pod->mac) && np_is_known(pod->gw_mac)) {
		__builtin_memcpy(macs, pod->mac, 6);
		__builtin_memcpy(macs + 6, pod->gw_mac, 6);
	} else {
		stats->ret_neigh++;
		return bpf_redirect_neigh(pod->ifindex, 0, 0, 0);
	}
	if (bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0)) {
		stats->ret_err++;
		return NP_DROP;
	}
	stats->ret_pod++;
	return bpf_redirect(pod->ifindex, 0);
}

static __always_inline void np_reopen(const struct np_flow *flow, struct np_podst *podst)
{
	struct np_svcst *svcst = bpf_map_lookup_elem(&np_svcst, &flow->svc_id);

	if (podst)
		__sync_fetch_and_add(&podst->opened, 1);
	if (svcst)
		__sync_fetch_and_add(&svcst->opened, 1);
}

/* The proxy accepted a SYN: the record learns its ISN, and starts anew when that SYN was one of a
 * new connection on a port whose old one never ended properly. */
static __always_inline void np_on_syn_ack(struct np_flow *flow, const struct np_packet *pkt,
					  struct np_podst *podst, __u64 now)
{
	if (pkt->ack == flow->syn_isn + 1 && flow->syn_isn != flow->tx_isn) {
		if (flow->flags & NP_FLOW_BOOKED) /* the old one ended between the two */
			np_reopen(flow, podst);
		flow->start_ns = now;
		flow->tx_isn = flow->syn_isn;
		flow->tx_bytes = 0;
		flow->rx_bytes = 0;
		flow->flags = 0;
		flow->state = NP_FLOW_SYN;
	}
	flow->rx_isn = pkt->seq;
	__sync_fetch_and_or(&flow->flags, NP_FLOW_RX_ISN);
}

static __always_inline void np_account(struct __sk_buff *skb, const struct np_packet *pkt,
				       const struct np_pod *pod, struct np_podst *podst)
{
	struct np_flow_key key = {};
	struct np_flow *flow;
	__u64 now;

	np_key_to_pod(&key, pkt, pod->ifindex);
	flow = bpf_map_lookup_elem(&np_flows, &key);
	if (!flow)
		return; /* RST to a refused SYN, or upstream traffic between pods */
	now = bpf_ktime_get_ns();
	flow->last_ns = now;
	if ((pkt->flags & (NP_TCP_SYN | NP_TCP_ACK)) == (NP_TCP_SYN | NP_TCP_ACK))
		np_on_syn_ack(flow, pkt, podst, now);
	np_count_rx(skb, flow, pkt, podst);
	np_advance(flow, &key, pkt, NP_FLOW_RX_FIN, NP_FLOW_TX_FIN, now);
}

SEC("tc")
int np_ret_in(struct __sk_buff *skb)
{
	struct np_stats *stats = np_stats_here();
	struct np_packet pkt = {};
	struct np_podst *podst;
	struct np_pod *pod;
	int parsed;

	if (!stats)
		return NP_NEXT; /* cannot be: it is an array */
	parsed = np_parse(skb, &pkt);
	if (parsed == NP_PARSE_NOT_IP || parsed == NP_PARSE_BAD) {
		stats->ret_next++;
		return NP_NEXT;
	}
	pod = bpf_map_lookup_elem(&np_pods, pkt.daddr);
	if (!pod) {
		stats->ret_next++;
		return NP_NEXT;
	}
	podst = bpf_map_lookup_elem(&np_podst, &pod->pod_id);
	if (parsed == NP_PARSE_TCP)
		np_account(skb, &pkt, pod, podst);
	return np_to_pod(skb, pod, podst, stats);
}
