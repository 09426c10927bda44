/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the admission guard of an uplink does with a frame, for XDP and tc alike: judges sources
 * (all their packets) and new connections (their SYN). Everything else passes.
 */
#ifndef NP_GUARD_BPF_H
#define NP_GUARD_BPF_H

#include "bpf/lib/flow.bpf.h"
#include "bpf/lib/guard_parse.bpf.h"

#define NP_GUARD_TRIES 8 /* of a contended compare-and-swap */
#define NP_AF_INET     2
#define NP_AF_INET6    10

/* Whether the host would keep the packet: an entry for "every address of this node" does not mean
 * what it forwards to pods. A host that forwards nothing keeps all. */
static __always_inline int np_guard_is_own(void *ctx, __u32 ifindex,
					   const struct np_guard_packet *pkt)
{
	struct bpf_fib_lookup route = {.ifindex = ifindex, .l4_protocol = IPPROTO_TCP};
	long found;

	if (pkt->is_v4) {
		route.family = NP_AF_INET;
		__builtin_memcpy(&route.ipv4_src, &pkt->source.ip[12], 4);
		__builtin_memcpy(&route.ipv4_dst, &pkt->destination.ip[12], 4);
	} else {
		route.family = NP_AF_INET6;
		__builtin_memcpy(route.ipv6_src, pkt->source.ip, 16);
		__builtin_memcpy(route.ipv6_dst, pkt->destination.ip, 16);
	}
	found = bpf_fib_lookup(ctx, &route, sizeof(route), 0);
	return found == BPF_FIB_LKUP_RET_NOT_FWDED || found == BPF_FIB_LKUP_RET_FWD_DISABLED;
}

static __always_inline struct np_guard_dst *np_guard_find(void *ctx, __u32 ifindex,
							  const struct np_guard_packet *pkt)
{
	struct np_guard_key any = {.port = pkt->destination.port};
	struct np_guard_dst *dst = bpf_map_lookup_elem(&np_guard_dst, &pkt->destination);

	if (dst)
		return dst;
	if (pkt->is_v4)
		any.ip[10] = any.ip[11] = 0xff;
	dst = bpf_map_lookup_elem(&np_guard_dst, &any);
	return dst && np_guard_is_own(ctx, ifindex, pkt) ? dst : 0;
}

/*
 * Takes a token; 0 when there is none. Never more than burst + rate * time are taken, on however
 * many CPUs: each taker wins one compare-and-swap. A SYN that finds none writes nothing here.
 */
static __always_inline int np_guard_take(struct np_guard_dst *dst, struct np_guard_st *st,
					 __u64 now)
{
	int i;

	if (dst->interval_ns == 0)
		return 1;
	for (i = 0; i < NP_GUARD_TRIES; i++) {
		__u64 seen = *(volatile __u64 *)&dst->tat_ns;
		__u64 from = (__s64)(seen - now) > 0 ? seen : now;

		if (from - now > dst->slack_ns)
			return 0;
		if (__sync_val_compare_and_swap(&dst->tat_ns, seen, from + dst->interval_ns) ==
		    seen)
			return 1;
	}
	st->contended++;
	return 0;
}

/* A bit that nobody alive stands for sheds nothing: a dead daemon must not close the node. */
static __always_inline int np_guard_is_overloaded(struct np_guard_st *st, __u64 now)
{
	struct np_live *live = np_live_here();
	struct np_config *config = np_config_here();

	if (!live || !config || !(live->flags & NP_LIVE_OVERLOAD))
		return 0;
	if (np_is_fresh(config, live, now))
		return 1;
	st->stale_overload++;
	return 0;
}

/* A new connection: 1 when it may come in. */
static __always_inline int np_guard_on_syn(void *ctx, __u32 ifindex,
					   const struct np_guard_packet *pkt,
					   struct np_guard_st *st)
{
	struct np_guard_dst *dst = np_guard_find(ctx, ifindex, pkt);
	__u64 now;

	if (!dst) {
		st->pass_unguarded++;
		return 1;
	}
	now = bpf_ktime_get_ns();
	if ((dst->flags & NP_GUARD_SHED) && np_guard_is_overloaded(st, now)) {
		__sync_fetch_and_add(&dst->shed, 1);
		st->drop_overload++;
		return 0;
	}
	if (!np_guard_take(dst, st, now)) {
		__sync_fetch_and_add(&dst->limited, 1);
		st->drop_limited++;
		return 0;
	}
	__sync_fetch_and_add(&dst->passed, 1);
	st->pass_syn++;
	return 1;
}

/* The verdict: 1 pass, 0 drop. The only place that counts exits. */
static __always_inline int np_guard_judge(void *ctx, __u32 ifindex,
					  const struct np_guard_packet *pkt, int kind,
					  struct np_guard_st *st)
{
	const struct np_guard_rule *rule;

	if (pkt->source.prefixlen != 0) {
		rule = bpf_map_lookup_elem(&np_guard_lpm, &pkt->source);
		if (rule && rule->action == NP_GUARD_DENY) {
			st->drop_denied++;
			return 0;
		}
	}
	switch (kind) {
	case NP_GUARD_SYN:
		return np_guard_on_syn(ctx, ifindex, pkt, st);
	case NP_GUARD_SEGMENT:
		st->pass_segment++;
		return 1;
	case NP_GUARD_PROTO:
		st->pass_proto++;
		return 1;
	case NP_GUARD_FRAGMENT:
		st->pass_fragment++;
		return 1;
	case NP_GUARD_NOT_IP:
		st->pass_not_ip++;
		return 1;
	case NP_GUARD_CHAIN:
		/* Passed, nine empty headers would be the way around every limit. */
		st->drop_chain++;
		return 0;
	default:
		st->pass_bad++;
		return 1;
	}
}

static __always_inline struct np_guard_st *np_guard_st_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&np_guard_st, &zero);
}

#endif /* NP_GUARD_BPF_H */
