// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * np_guard (XDP, native or generic) and np_guard_tc (tc ingress, where XDP cannot be had): the
 * admission guard of an uplink. Both see every frame that comes in and take the same decisions
 * (lib/guard.bpf.h). They drop or pass, and change nothing.
 */
#include "bpf/lib/guard.bpf.h"

#define NP_GUARD_PULL_BYTES 256 /* Ethernet, two tags, IPv6, some extension headers, TCP */

/* Frames in several buffers are welcome: their headers are in the first. */
SEC("xdp.frags")
int np_guard(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	struct np_guard_st *st = np_guard_st_here();
	struct np_guard_packet pkt = {};
	int kind;

	if (!st)
		return XDP_PASS; /* cannot be: it is an array */
	kind = np_guard_parse(&pkt, data, end);
	return np_guard_judge(ctx, ctx->ingress_ifindex, &pkt, kind, st) ? XDP_PASS : XDP_DROP;
}

SEC("tc")
int np_guard_tc(struct __sk_buff *skb)
{
	struct np_guard_st *st = np_guard_st_here();
	struct np_guard_packet pkt = {};
	__u32 bytes;
	int kind;

	if (!st)
		return NP_NEXT; /* cannot be: it is an array */
	kind = np_guard_parse(&pkt, (const void *)(long)skb->data,
			      (const void *)(long)skb->data_end);
	if (kind == NP_GUARD_CUT) {
		bytes = skb->len < NP_GUARD_PULL_BYTES ? skb->len : NP_GUARD_PULL_BYTES;
		__builtin_memset(&pkt, 0, sizeof(pkt));
		if (bpf_skb_pull_data(skb, bytes) == 0)
			kind = np_guard_parse(&pkt, (const void *)(long)skb->data,
					      (const void *)(long)skb->data_end);
	}
	return np_guard_judge(skb, skb->ifindex, &pkt, kind, st) ? NP_NEXT : NP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
