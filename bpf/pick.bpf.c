// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * np_pick: sk_lookup of the proxy namespace. Runs once per connection, for segments that no socket
 * claims, and gives a SYN that np_pod_in admitted to the listener of its pod's slot, so that one
 * pod's flood fills one accept queue. Fail closed, always: whatever it does not admit is dropped
 * here, which the kernel answers with RST. That is how refusals reach the client.
 */
#include "bpf/lib/upstream.bpf.h"

static __always_inline void np_read_peer(struct bpf_sk_lookup *ctx, struct np_packet *pkt)
{
	if (ctx->family == 2 /* AF_INET */) {
		__u32 remote = ctx->remote_ip4, local = ctx->local_ip4;

		pkt->is_v4 = 1;
		pkt->saddr[10] = pkt->saddr[11] = pkt->daddr[10] = pkt->daddr[11] = 0xff;
		__builtin_memcpy(&pkt->saddr[12], &remote, 4);
		__builtin_memcpy(&pkt->daddr[12], &local, 4);
	} else {
		__u32 remote[4] = {ctx->remote_ip6[0], ctx->remote_ip6[1], ctx->remote_ip6[2],
				   ctx->remote_ip6[3]};
		__u32 local[4] = {ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2],
				  ctx->local_ip6[3]};

		__builtin_memcpy(pkt->saddr, remote, 16);
		__builtin_memcpy(pkt->daddr, local, 16);
	}
	pkt->sport = bpf_ntohs(ctx->remote_port);
	pkt->dport = ctx->local_port;
}

/* What np_is_for_upstream() asks comes here when there is no such connection. */
static __always_inline int np_refuse(struct np_stats *stats, const struct np_config *config,
				     const struct np_packet *pkt)
{
	if (np_is_in_band(config, pkt->dport) && bpf_map_lookup_elem(&np_pods, pkt->daddr))
		stats->pick_upstream++;
	else
		stats->pick_no_flow++;
	return SK_DROP;
}

static __always_inline int np_assign(struct bpf_sk_lookup *ctx, struct np_stats *stats, __u32 index)
{
	struct bpf_sock *listener = bpf_map_lookup_elem(&np_listeners, &index);
	long err;

	if (!listener) {
		stats->pick_no_listener++;
		return SK_DROP;
	}
	err = bpf_sk_assign(ctx, listener, BPF_SK_LOOKUP_F_NO_REUSEPORT);
	bpf_sk_release(listener);
	if (err) {
		stats->pick_err++;
		return SK_DROP;
	}
	stats->pick_ok++;
	return SK_PASS;
}

SEC("sk_lookup")
int np_pick(struct bpf_sk_lookup *ctx)
{
	struct np_stats *stats = np_stats_here();
	struct np_config *config = np_config_here();
	struct np_live *live = np_live_here();
	struct np_packet pkt = {};
	struct np_flow_key key = {};
	struct np_flow *flow;
	struct np_pod *pod;

	if (!stats || !config || !live)
		return SK_DROP; /* cannot be: all are arrays */
	if (ctx->protocol != IPPROTO_TCP) {
		stats->pick_other++;
		return SK_PASS;
	}
	np_read_peer(ctx, &pkt);
	pod = bpf_map_lookup_elem(&np_pods, pkt.saddr);
	if (!pod)
		return np_refuse(stats, config, &pkt);
	np_key_from_pod(&key, &pkt, pod->ifindex);
	flow = bpf_map_lookup_elem(&np_flows, &key);
	if (!flow || flow->state == NP_FLOW_CLOSED)
		return np_refuse(stats, config, &pkt);
	/* A SYN of a flow that was open when its daemon hung: nobody would accept it. */
	if (!np_is_fresh(config, live, bpf_ktime_get_ns())) {
		stats->pick_stale_hb++;
		return SK_DROP;
	}
	return np_assign(ctx, stats, np_listener_index(flow->slot, pkt.is_v4));
}
