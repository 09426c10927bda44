/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Answers to upstream sockets that live in the proxy namespace under a pod's address (`source:
 * pod`, R25): told apart from the pod's own traffic by the reserved band of ports, and by the
 * socket itself, so that a server that a pod runs on such a port is left alone.
 */
#ifndef NP_UPSTREAM_BPF_H
#define NP_UPSTREAM_BPF_H

#include "bpf/lib/flow.bpf.h"

#define NP_BPF_TCP_LISTEN 10 /* of the kernel's socket states */

static __always_inline int np_is_in_band(const struct np_config *config, __u16 port)
{
	return port >= config->band_lo && port <= config->band_hi;
}

/* Whether the proxy namespace has a socket for this very connection. */
static __always_inline int np_has_upstream_socket(struct __sk_buff *skb,
						  const struct np_config *config,
						  const struct np_packet *pkt)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	int is_connection;

	if (pkt->is_v4) {
		__builtin_memcpy(&tuple.ipv4.saddr, &pkt->saddr[12], 4);
		__builtin_memcpy(&tuple.ipv4.daddr, &pkt->daddr[12], 4);
		tuple.ipv4.sport = bpf_htons(pkt->sport);
		tuple.ipv4.dport = bpf_htons(pkt->dport);
		sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), config->proxy_nsid, 0);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, pkt->saddr, 16);
		__builtin_memcpy(tuple.ipv6.daddr, pkt->daddr, 16);
		tuple.ipv6.sport = bpf_htons(pkt->sport);
		tuple.ipv6.dport = bpf_htons(pkt->dport);
		sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), config->proxy_nsid, 0);
	}
	if (!sk)
		return 0;
	is_connection = sk->state != NP_BPF_TCP_LISTEN;
	bpf_sk_release(sk);
	return is_connection;
}

/* A segment for such a socket. A pure SYN is none: it goes to a server of the pod. */
static __always_inline int np_is_for_upstream(struct __sk_buff *skb, const struct np_config *config,
					      const struct np_packet *pkt)
{
	if (!np_is_in_band(config, pkt->dport))
		return 0;
	if ((pkt->flags & (NP_TCP_SYN | NP_TCP_ACK)) == NP_TCP_SYN)
		return 0;
	if (!bpf_map_lookup_elem(&np_pods, pkt->daddr))
		return 0;
	return np_has_upstream_socket(skb, config, pkt);
}

#endif /* NP_UPSTREAM_BPF_H */
