// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * np_pod_in: tc ingress of each registered pod's host veth, first in the chain. Hands segments of
 * covered connections to the proxy namespace by bpf_redirect_peer; everything else goes on, with
 * TCX_NEXT and never with OK or SHOT, so that whoever follows in the chain still runs.
 *
 * Fail open or closed is decided in one place, np_refuse_or_pass(): a SYN that cannot be served
 * goes on when its destination is open; when it is closed it goes to the proxy namespace without a
 * record in np_flows, where np_pick finds none and the kernel answers with RST.
 *
 * Whether a connection is captured is decided at its SYN only. Later segments follow np_flows: a
 * captured connection is never re-routed, an uncaptured one never captured.
 */
#include "bpf/lib/upstream.bpf.h"

#define NP_NS_PER_S 1000000000ull

struct np_syn {
	struct np_stats *stats;
	struct np_config *config;
	const struct np_packet *pkt;
	struct np_flow_key *key;
	struct np_svc *svc;
	struct np_pod *pod;
	__u64 now;
};

/* Into the proxy namespace. Frames of bridged pods are addressed to the bridge, so the veth marked
 * them as somebody else's, and the IP layer there would drop them. */
static __always_inline int np_to_proxy(struct __sk_buff *skb, const struct np_config *config)
{
	if (skb->pkt_type != 0 /* PACKET_HOST */)
		bpf_skb_change_type(skb, 0);
	return bpf_redirect_peer(config->np0_ifindex, 0);
}

static __always_inline __u8 np_fail_mode(const struct np_config *config, const struct np_svc *svc,
					 const struct np_pod *pod)
{
	if (svc->fail != NP_FAIL_DEFAULT)
		return svc->fail;
	if (pod && pod->fail != NP_FAIL_DEFAULT)
		return pod->fail;
	return config->default_fail;
}

/* A SYN that cannot be served. The only place that says what fail open and closed do. */
static __always_inline int np_refuse_or_pass(struct __sk_buff *skb, const struct np_syn *syn)
{
	int closed = np_fail_mode(syn->config, syn->svc, syn->pod) == NP_FAIL_CLOSED;
	struct np_podst *podst = bpf_map_lookup_elem(&np_podst, &syn->pod->pod_id);
	struct np_svcst *svcst = bpf_map_lookup_elem(&np_svcst, &syn->svc->svc_id);

	if (podst)
		__sync_fetch_and_add(closed ? &podst->failclosed : &podst->failopen, 1);
	if (svcst)
		__sync_fetch_and_add(closed ? &svcst->failclosed : &svcst->failopen, 1);
	if (!closed) {
		syn->stats->failopen++;
		return NP_NEXT;
	}
	syn->stats->failclosed++;
	return np_to_proxy(skb, syn->config);
}

/* Slot filled, heartbeat fresh, not shedding: the daemon can take a connection (design.md 8.3). */
static __always_inline int np_is_served(const struct np_syn *syn, const struct np_live *live)
{
	__u32 index = np_listener_index(syn->pod->slot, syn->pkt->is_v4);
	struct bpf_sock *listener;

	if (!np_is_fresh(syn->config, live, syn->now)) {
		syn->stats->stale_hb++;
		return 0;
	}
	if (live->flags & (NP_LIVE_OVERLOAD | NP_LIVE_DRAIN)) {
		syn->stats->overload++;
		return 0;
	}
	listener = bpf_map_lookup_elem(&np_listeners, &index);
	if (!listener) {
		syn->stats->no_listener++;
		return 0;
	}
	bpf_sk_release(listener);
	return 1;
}

/* Takes one token of the pod's bucket; 0 when there is none. */
static __always_inline int np_take_token(struct np_podst *podst, const struct np_pod *pod,
					 __u64 now)
{
	__u64 full = (__u64)pod->syn_burst * NP_NS_PER_S;
	__u64 elapsed, gained;
	int taken = 0;

	if (pod->syn_rate == 0)
		return 1;
	bpf_spin_lock(&podst->lock);
	elapsed = now - podst->refill_ns;
	if ((__s64)elapsed > 0) {
		/* One second fills any bucket whose burst is at most its rate; bounded against
		 * overflow of the product. */
		if (elapsed > 60 * NP_NS_PER_S)
			elapsed = 60 * NP_NS_PER_S;
		gained = elapsed * pod->syn_rate;
		podst->tokens += gained;
		if (podst->tokens > full)
			podst->tokens = full;
		podst->refill_ns = now;
	}
	if (podst->tokens >= NP_NS_PER_S) {
		podst->tokens -= NP_NS_PER_S;
		taken = 1;
	}
	bpf_spin_unlock(&podst->lock);
	return taken;
}

/* Caps of the pod (R45): 0 when it may open one more, else the verdict to return. */
static __always_inline int np_over_cap(struct __sk_buff *skb, const struct np_syn *syn,
				       struct np_podst *podst)
{
	if (syn->pod->max_flows &&
	    (__s64)(podst->opened - podst->closed) >= (__s64)syn->pod->max_flows) {
		__sync_fetch_and_add(&podst->syn_drop_cap, 1);
		syn->stats->cap_flows++;
		return np_to_proxy(skb, syn->config); /* no record: reset at once */
	}
	if (!np_take_token(podst, syn->pod, syn->now)) {
		__sync_fetch_and_add(&podst->syn_drop_rate, 1);
		syn->stats->cap_rate++;
		return NP_DROP; /* the client's retransmission timer spreads the load */
	}
	return 0;
}

static __always_inline int np_differs(const __u8 *a, const __u8 *b)
{
	int i, differs = 0;

	for (i = 0; i < 6; i++)
		differs |= a[i] ^ b[i];
	return differs;
}

/* The return leg needs both addresses of the frame when the pod hangs on a bridge (8.4). */
static __always_inline void np_learn_macs(struct __sk_buff *skb, struct np_podst *podst)
{
	__u8 macs[12]; /* destination, source */

	if (bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)))
		return;
	/* Compared first, so that a line that many CPUs read is not written for every SYN. */
	if (np_differs(podst->gw_mac, macs))
		__builtin_memcpy(podst->gw_mac, macs, 6);
	if (np_differs(podst->mac, macs + 6))
		__builtin_memcpy(podst->mac, macs + 6, 6);
}

static __always_inline int np_make_flow(const struct np_syn *syn)
{
	__u32 zero = 0;
	struct np_flow *flow = bpf_map_lookup_elem(&np_scratch, &zero);

	if (!flow)
		return -1;
	flow->start_ns = syn->now;
	flow->last_ns = syn->now;
	flow->tx_pkts = 0;
	flow->tx_bytes = 0;
	flow->rx_pkts = 0;
	flow->rx_bytes = 0;
	flow->policy_gen = syn->svc->gen;
	flow->pod_id = syn->pod->pod_id;
	flow->svc_id = syn->svc->svc_id;
	flow->tx_isn = syn->pkt->seq;
	flow->rx_isn = 0;
	flow->syn_isn = syn->pkt->seq;
	flow->state = NP_FLOW_SYN;
	flow->flags = 0;
	flow->fail = np_fail_mode(syn->config, syn->svc, syn->pod);
	flow->slot = syn->pod->slot;
	__builtin_memcpy(flow->svc, syn->svc->name, NP_NAME_BYTES);
	__builtin_memcpy(flow->pod, syn->pod->name, NP_NAME_BYTES);
	return bpf_map_update_elem(&np_flows, syn->key, flow, BPF_ANY);
}

/* The first SYN of a connection that policy covers. */
static __always_inline int np_open_flow(struct __sk_buff *skb, const struct np_syn *syn,
					int is_retransmission)
{
	struct np_podst *podst = bpf_map_lookup_elem(&np_podst, &syn->pod->pod_id);
	struct np_svcst *svcst = bpf_map_lookup_elem(&np_svcst, &syn->svc->svc_id);
	struct np_flow *flow;
	int verdict;

	if (!podst) { /* being detached */
		syn->stats->err_config++;
		return NP_NEXT;
	}
	if (!is_retransmission) {
		verdict = np_over_cap(skb, syn, podst);
		if (verdict)
			return verdict;
		if (np_make_flow(syn)) {
			syn->stats->table_full++;
			return np_refuse_or_pass(skb, syn);
		}
		__sync_fetch_and_add(&podst->opened, 1);
		__sync_fetch_and_add(&podst->syn_ok, 1);
		if (svcst)
			__sync_fetch_and_add(&svcst->opened, 1);
		np_emit(NP_EVENT_OPEN, syn->key, syn->pod->pod_id, syn->svc->svc_id, syn->now);
	}
	np_learn_macs(skb, podst);
	flow = bpf_map_lookup_elem(&np_flows, syn->key);
	if (flow) {
		flow->last_ns = syn->now;
		flow->syn_isn = syn->pkt->seq;
		np_count_tx(skb, flow, syn->pkt);
	}
	syn->stats->captured++;
	return np_to_proxy(skb, syn->config);
}

/* Actions of the policy that are not "capture". 0: capture, 1: `*verdict` is the answer. */
static __always_inline int np_other_action(struct __sk_buff *skb, const struct np_syn *syn,
					   const struct np_live *live, int *verdict)
{
	*verdict = NP_NEXT;
	if (live->flags & NP_LIVE_KILLSWITCH) {
		syn->stats->killswitch++;
		return 1;
	}
	switch (syn->svc->action) {
	case NP_ACTION_CAPTURE:
		return 0;
	case NP_ACTION_REJECT:
		syn->stats->reject++;
		*verdict = np_to_proxy(skb, syn->config);
		return 1;
	case NP_ACTION_DRAIN:
		syn->stats->bypass_drain++;
		return 1;
	default:
		syn->stats->bypass_action++;
		return 1;
	}
}

/* Forgets a SYN that was captured but never answered, so that its retransmission may go direct. */
static __always_inline void np_forget(struct np_flow *flow, const struct np_flow_key *key,
				      __u64 now)
{
	np_close(flow, key, now);
	bpf_map_delete_elem(&np_flows, key);
}

static __always_inline int np_on_syn(struct __sk_buff *skb, struct np_syn *syn,
				     struct np_flow *flow)
{
	struct np_live *live = np_live_here();
	int verdict, unanswered;

	if (!live)
		return NP_NEXT;
	if (flow && (flow->state == NP_FLOW_EST || flow->state == NP_FLOW_FIN)) {
		/* The proxy's TCP decides whether this is a new connection on a reused port (then
		 * its SYN-ACK restarts the record) or nonsense. */
		flow->syn_isn = syn->pkt->seq;
		flow->last_ns = syn->now;
		np_count_tx(skb, flow, syn->pkt);
		syn->stats->captured++;
		return np_to_proxy(skb, syn->config);
	}
	syn->pod = bpf_map_lookup_elem(&np_pods, syn->pkt->saddr);
	if (!syn->pod || syn->pod->ifindex != syn->key->ifindex) {
		/* Not this interface's address (R9): it must not act under another pod's name. */
		if (np_fail_mode(syn->config, syn->svc, 0) == NP_FAIL_CLOSED) {
			syn->stats->spoof_drop++;
			return NP_DROP;
		}
		syn->stats->spoof++;
		return NP_NEXT;
	}
	unanswered = flow && flow->state == NP_FLOW_SYN;
	if (np_other_action(skb, syn, live, &verdict)) {
		if (unanswered && verdict == NP_NEXT)
			np_forget(flow, syn->key, syn->now);
		return verdict;
	}
	if (!np_is_served(syn, live)) {
		if (unanswered)
			np_forget(flow, syn->key, syn->now);
		return np_refuse_or_pass(skb, syn);
	}
	if (unanswered && flow->tx_isn != syn->pkt->seq) {
		np_forget(flow, syn->key, syn->now);
		unanswered = 0;
	}
	return np_open_flow(skb, syn, unanswered);
}

/* Any other segment to a covered address. */
static __always_inline int np_on_segment(struct __sk_buff *skb, const struct np_syn *syn,
					 struct np_flow *flow)
{
	const struct np_packet *pkt = syn->pkt;
	struct np_live *live;

	if (!flow) {
		live = np_live_here();
		if (live && syn->now < live->reset_until_ns &&
		    syn->svc->action == NP_ACTION_CAPTURE) {
			syn->stats->midflow_reset++;
			return np_to_proxy(skb, syn->config);
		}
		syn->stats->bypass_midflow++;
		return NP_NEXT;
	}
	flow->last_ns = syn->now;
	np_count_tx(skb, flow, pkt);
	if (flow->state == NP_FLOW_SYN && (flow->flags & NP_FLOW_RX_ISN) &&
	    pkt->ack == flow->rx_isn + 1)
		flow->state = NP_FLOW_EST;
	np_advance(flow, syn->key, pkt, NP_FLOW_TX_FIN, NP_FLOW_RX_FIN, syn->now);
	syn->stats->captured++;
	return np_to_proxy(skb, syn->config);
}

static __always_inline int np_on_fragment(const struct np_syn *syn, const struct np_flow *flow)
{
	/* Half a segment cannot be captured. Of a captured flow it must not reach the backend,
	 * whose reset would hit a connection it does not know (R36). */
	if (flow || np_fail_mode(syn->config, syn->svc, 0) == NP_FAIL_CLOSED) {
		syn->stats->frag_drop++;
		return NP_DROP;
	}
	syn->stats->frag++;
	return NP_NEXT;
}

/* Frames that are no whole TCP segment and no first fragment of one. */
static __always_inline int np_pass(struct np_stats *stats, int parsed)
{
	switch (parsed) {
	case NP_PARSE_UDP:
		stats->bypass_udp++;
		break;
	case NP_PARSE_OTHER_PROTO:
		stats->bypass_proto++;
		break;
	case NP_PARSE_FRAGMENT_LATER:
		stats->frag++;
		break;
	case NP_PARSE_NOT_IP:
		stats->bypass_not_ip++;
		break;
	default:
		stats->err_parse++;
		break;
	}
	return NP_NEXT;
}

static __always_inline struct np_svc *np_find_svc(const struct np_packet *pkt)
{
	struct np_svc_key exact = {.port = pkt->dport, .proto = IPPROTO_TCP};
	struct np_cidr_key prefix = {.prefixlen = NP_CIDR_BITS_MAX,
				     .port_be = bpf_htons(pkt->dport)};
	struct np_svc *svc;

	__builtin_memcpy(exact.ip, pkt->daddr, 16);
	svc = bpf_map_lookup_elem(&np_svc, &exact);
	if (svc)
		return svc;
	__builtin_memcpy(prefix.ip, pkt->daddr, 16);
	return bpf_map_lookup_elem(&np_cidr, &prefix);
}

SEC("tc")
int np_pod_in(struct __sk_buff *skb)
{
	struct np_packet pkt = {};
	struct np_flow_key key = {};
	struct np_syn syn = {.pkt = &pkt, .key = &key};
	struct np_flow *flow;
	int parsed;

	syn.stats = np_stats_here();
	syn.config = np_config_here();
	if (!syn.stats || !syn.config)
		return NP_NEXT; /* cannot be: both are arrays */
	parsed = np_parse(skb, &pkt);
	if (parsed != NP_PARSE_TCP && parsed != NP_PARSE_FRAGMENT)
		return np_pass(syn.stats, parsed);
	if (syn.config->np0_ifindex == 0) {
		syn.stats->err_config++;
		return NP_NEXT;
	}
	if (parsed == NP_PARSE_TCP && np_is_for_upstream(skb, syn.config, &pkt)) {
		syn.stats->upstream_return++;
		return np_to_proxy(skb, syn.config);
	}
	syn.svc = np_find_svc(&pkt);
	if (!syn.svc) {
		syn.stats->bypass++;
		return NP_NEXT;
	}
	syn.now = bpf_ktime_get_ns();
	np_key_from_pod(&key, &pkt, skb->ifindex);
	flow = bpf_map_lookup_elem(&np_flows, &key);
	if (parsed == NP_PARSE_FRAGMENT)
		return np_on_fragment(&syn, flow);
	if ((pkt.flags & (NP_TCP_SYN | NP_TCP_ACK | NP_TCP_RST | NP_TCP_FIN)) == NP_TCP_SYN)
		return np_on_syn(skb, &syn, flow);
	return np_on_segment(skb, &syn, flow);
}

char _license[] SEC("license") = "Dual BSD/GPL";
