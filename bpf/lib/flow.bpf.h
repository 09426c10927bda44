/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Records in np_flows: keys, counting by sequence number, states, totals. Used by both directions.
 */
#ifndef NP_FLOW_BPF_H
#define NP_FLOW_BPF_H

#include "bpf/lib/parse.bpf.h"
#include "bpf/maps.bpf.h"

#define NP_NEXT	       (-1) /* TCX_NEXT, and TC_ACT_UNSPEC for clsact */
#define NP_DROP	       2    /* TCX_DROP, TC_ACT_SHOT */

#define NP_COUNT_TRIES 4 /* of a contended compare-and-swap */
/* No TCP window is wider (RFC 7323), so a jump above this is not progress but a forged segment. */
#define NP_WINDOW_MAX (1u << 30)

static __always_inline struct np_stats *np_stats_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&np_stats, &zero);
}

static __always_inline struct np_config *np_config_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&np_config, &zero);
}

static __always_inline struct np_live *np_live_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&np_live, &zero);
}

static __always_inline int np_is_fresh(const struct np_config *config, const struct np_live *live,
				       __u64 now)
{
	__u64 beat = *(volatile const __u64 *)&live->heartbeat_ns;

	/* Signed: another CPU may have written a heartbeat after `now` was read. */
	return beat != 0 && (__s64)(now - beat) < (__s64)config->hb_timeout_ns;
}

static __always_inline __u32 np_listener_index(__u8 slot, int is_v4)
{
	__u32 index = slot & (NP_LISTENERS_PER_FAMILY - 1);

	return is_v4 ? index : NP_LISTENERS_PER_FAMILY + index;
}

/* The key of the connection that a segment from its pod belongs to. */
static __always_inline void np_key_from_pod(struct np_flow_key *key, const struct np_packet *pkt,
					    __u32 ifindex)
{
	__builtin_memcpy(key->saddr, pkt->saddr, 16);
	__builtin_memcpy(key->daddr, pkt->daddr, 16);
	key->sport = pkt->sport;
	key->dport = pkt->dport;
	key->ifindex = ifindex;
}

/* The same for a segment towards the pod. */
static __always_inline void np_key_to_pod(struct np_flow_key *key, const struct np_packet *pkt,
					  __u32 ifindex)
{
	__builtin_memcpy(key->saddr, pkt->daddr, 16);
	__builtin_memcpy(key->daddr, pkt->saddr, 16);
	key->sport = pkt->dport;
	key->dport = pkt->sport;
	key->ifindex = ifindex;
}

/*
 * Raises *bytes, the highest end seen relative to the first payload byte, to this segment's end.
 * Returns by how much. Compare-and-swap, because the two ends of a busy connection may be handled
 * on two CPUs and a lost maximum would never be made up.
 */
static __always_inline __u64 np_raise(__u64 *bytes, __u32 isn, const struct np_packet *pkt)
{
	__u32 end = pkt->seq + pkt->payload_bytes - isn - 1;
	struct np_stats *stats;
	int i;

	if (pkt->payload_bytes == 0 && !(pkt->flags & NP_TCP_FIN))
		return 0;
	for (i = 0; i < NP_COUNT_TRIES; i++) {
		__u64 seen = *(volatile __u64 *)bytes;
		__u32 delta = end - (__u32)seen;

		if (delta == 0 || delta > NP_WINDOW_MAX)
			return 0; /* retransmission, or nonsense */
		if (__sync_val_compare_and_swap(bytes, seen, seen + delta) == seen)
			return delta;
	}
	stats = np_stats_here();
	if (stats)
		stats->err_count++;
	return 0;
}

static __always_inline void np_emit(__u32 kind, const struct np_flow_key *key, __u32 pod_id,
				    __u32 svc_id, __u64 now)
{
	struct np_live *live = np_live_here();
	struct np_event *event;

	if (!live || !(live->flags & NP_LIVE_EVENTS))
		return;
	event = bpf_ringbuf_reserve(&np_events, sizeof(*event), 0);
	if (!event)
		return;
	event->at_ns = now;
	event->kind = kind;
	event->pod_id = pod_id;
	event->svc_id = svc_id;
	event->count = 0;
	event->key = *key;
	bpf_ringbuf_submit(event, 0);
}

/* Books the end of a flow once, whoever sees it first. */
static __always_inline void np_close(struct np_flow *flow, const struct np_flow_key *key, __u64 now)
{
	struct np_podst *podst;
	struct np_svcst *svcst;

	if (__sync_fetch_and_or(&flow->flags, NP_FLOW_BOOKED) & NP_FLOW_BOOKED)
		return;
	flow->state = NP_FLOW_CLOSED;
	podst = bpf_map_lookup_elem(&np_podst, &flow->pod_id);
	if (podst)
		__sync_fetch_and_add(&podst->closed, 1);
	svcst = bpf_map_lookup_elem(&np_svcst, &flow->svc_id);
	if (svcst)
		__sync_fetch_and_add(&svcst->closed, 1);
	np_emit(NP_EVENT_CLOSE, key, flow->pod_id, flow->svc_id, now);
}

/* State after a segment; `mine` and `other` are the FIN flags of its direction and the other. */
static __always_inline void np_advance(struct np_flow *flow, const struct np_flow_key *key,
				       const struct np_packet *pkt, __u32 mine, __u32 other,
				       __u64 now)
{
	if (flow->state == NP_FLOW_CLOSED)
		return;
	if (pkt->flags & NP_TCP_RST) {
		__sync_fetch_and_or(&flow->flags, NP_FLOW_RESET);
		np_close(flow, key, now);
		return;
	}
	if (!(pkt->flags & NP_TCP_FIN))
		return;
	if (__sync_fetch_and_or(&flow->flags, mine) & other)
		np_close(flow, key, now);
	else
		flow->state = NP_FLOW_FIN;
}

static __always_inline __u64 np_packets(const struct __sk_buff *skb)
{
	return skb->gso_segs ? skb->gso_segs : 1;
}

/* Counts a segment from the pod, in the record and in the totals. */
static __always_inline void np_count_tx(struct __sk_buff *skb, struct np_flow *flow,
					const struct np_packet *pkt)
{
	struct np_podst *podst = bpf_map_lookup_elem(&np_podst, &flow->pod_id);
	struct np_svcst *svcst = bpf_map_lookup_elem(&np_svcst, &flow->svc_id);
	__u64 packets = np_packets(skb);
	__u64 bytes = 0;

	/* A SYN's payload (Fast Open) is counted when a later segment's end covers it; a RST's
	 * sequence number proves nothing. */
	if (!(pkt->flags & (NP_TCP_SYN | NP_TCP_RST)))
		bytes = np_raise(&flow->tx_bytes, flow->tx_isn, pkt);
	__sync_fetch_and_add(&flow->tx_pkts, packets);
	if (podst) {
		__sync_fetch_and_add(&podst->tx_pkts, packets);
		if (bytes)
			__sync_fetch_and_add(&podst->tx_bytes, bytes);
	}
	if (svcst) {
		__sync_fetch_and_add(&svcst->tx_pkts, packets);
		if (bytes)
			__sync_fetch_and_add(&svcst->tx_bytes, bytes);
	}
}

/* The same for a segment to the pod; `podst` may be NULL. */
static __always_inline void np_count_rx(struct __sk_buff *skb, struct np_flow *flow,
					const struct np_packet *pkt, struct np_podst *podst)
{
	struct np_svcst *svcst = bpf_map_lookup_elem(&np_svcst, &flow->svc_id);
	__u64 packets = np_packets(skb);
	__u64 bytes = 0;

	if (!(pkt->flags & (NP_TCP_SYN | NP_TCP_RST)) && (flow->flags & NP_FLOW_RX_ISN))
		bytes = np_raise(&flow->rx_bytes, flow->rx_isn, pkt);
	__sync_fetch_and_add(&flow->rx_pkts, packets);
	if (podst) {
		__sync_fetch_and_add(&podst->rx_pkts, packets);
		if (bytes)
			__sync_fetch_and_add(&podst->rx_bytes, bytes);
	}
	if (svcst) {
		__sync_fetch_and_add(&svcst->rx_pkts, packets);
		if (bytes)
			__sync_fetch_and_add(&svcst->rx_bytes, bytes);
	}
}

#endif /* NP_FLOW_BPF_H */
