/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * From a frame to what the guard judges it by: source, destination, whether it opens a connection.
 * By direct access, so that a frame that is dropped costs no copy and no helper. Looks through VLAN
 * tags and IPv6 extension headers.
 */
#ifndef NP_GUARD_PARSE_BPF_H
#define NP_GUARD_PARSE_BPF_H

#include "bpf/abi/np_abi.h"
#include "bpf/lib/parse.bpf.h"

#define NP_VLAN_TAGS_MAX    2 /* 802.1ad: an outer and an inner one */
#define NP_TCP_PORTS_BYTES  4
#define NP_GUARD_ANY_BYTES  0x7fffffff /* BIG TCP: the length field says nothing */
#define NP_TCP_FLAGS_END    14 /* bytes of a TCP header up to and with its flags */

#define NP_TCP_OPENING_MASK (NP_TCP_SYN | NP_TCP_ACK | NP_TCP_RST | NP_TCP_FIN)

enum np_guard_kind {
	NP_GUARD_CUT, /* the headers go on behind the bytes at hand */
	NP_GUARD_BAD,
	NP_GUARD_NOT_IP,
	NP_GUARD_PROTO,
	NP_GUARD_FRAGMENT,
	NP_GUARD_SEGMENT,
	NP_GUARD_SYN,
	NP_GUARD_CHAIN,
};

struct np_guard_packet {
	struct np_guard_net source; /* prefixlen 0: no addresses were read */
	struct np_guard_key destination;
	__u8 is_v4;
	__u8 is_fragment; /* the first one of several */
};

struct np_guard_vlan {
	__be16 tag;
	__be16 type; /* of what follows */
};

/* `l4_bytes`: what the IP header says is there; padding behind it is no TCP header. */
static __always_inline int np_guard_tcp(struct np_guard_packet *pkt, const __u8 *at,
					const void *end, __u32 l4_bytes)
{
	if (l4_bytes < NP_TCP_PORTS_BYTES)
		return NP_GUARD_BAD;
	if ((const void *)(at + NP_TCP_PORTS_BYTES) > end)
		return NP_GUARD_CUT;
	pkt->destination.port = (__u16)(at[2] << 8 | at[3]);
	/* A first fragment that hides its flags could be half a SYN: it is taken for one. */
	if (l4_bytes < NP_TCP_FLAGS_END)
		return pkt->is_fragment ? NP_GUARD_SYN : NP_GUARD_BAD;
	if ((const void *)(at + NP_TCP_FLAGS_END) > end)
		return NP_GUARD_CUT;
	return (at[NP_TCP_FLAGS_END - 1] & NP_TCP_OPENING_MASK) == NP_TCP_SYN ? NP_GUARD_SYN
									      : NP_GUARD_SEGMENT;
}

static __always_inline int np_guard_v4(struct np_guard_packet *pkt, const void *at, const void *end)
{
	const struct iphdr *ip = at;
	__u32 header_bytes, total_bytes;
	__u16 fragment;

	if ((const void *)(ip + 1) > end)
		return NP_GUARD_CUT;
	header_bytes = ip->ihl * 4;
	total_bytes = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header_bytes < sizeof(*ip))
		return NP_GUARD_BAD;
	pkt->is_v4 = 1;
	pkt->source.prefixlen = 128;
	pkt->source.ip[10] = pkt->source.ip[11] = 0xff;
	pkt->destination.ip[10] = pkt->destination.ip[11] = 0xff;
	__builtin_memcpy(&pkt->source.ip[12], &ip->saddr, 4);
	__builtin_memcpy(&pkt->destination.ip[12], &ip->daddr, 4);
	fragment = bpf_ntohs(ip->frag_off);
	if (fragment & NP_IP_OFFSET_MASK)
		return NP_GUARD_FRAGMENT;
	if (ip->protocol != IPPROTO_TCP)
		return NP_GUARD_PROTO;
	if (total_bytes == 0) /* BIG TCP */
		total_bytes = NP_GUARD_ANY_BYTES;
	if (total_bytes < header_bytes)
		return NP_GUARD_BAD;
	pkt->is_fragment = (fragment & NP_IP_MORE_FRAGMENTS) != 0;
	return np_guard_tcp(pkt, (const __u8 *)at + header_bytes, end, total_bytes - header_bytes);
}

/* One extension header; as the kernel's struct ipv6_opt_hdr and frag_hdr. */
struct np_guard_extension {
	__u8 next;
	__u8 length;
	__be16 fragment;
	__be32 id;
};

static __always_inline int np_guard_v6(struct np_guard_packet *pkt, const void *at, const void *end)
{
	const struct ipv6hdr *ip = at;
	const __u8 *header = (const __u8 *)(ip + 1);
	const struct np_guard_extension *ext;
	__u32 left, bytes;
	__u8 next;
	int i;

	if ((const void *)(ip + 1) > end)
		return NP_GUARD_CUT;
	if (ip->version != 6)
		return NP_GUARD_BAD;
	pkt->source.prefixlen = 128;
	__builtin_memcpy(pkt->source.ip, &ip->saddr, 16);
	__builtin_memcpy(pkt->destination.ip, &ip->daddr, 16);
	next = ip->nexthdr;
	left = ip->payload_len ? bpf_ntohs(ip->payload_len) : NP_GUARD_ANY_BYTES; /* 0: BIG TCP */
	for (i = 0; i < NP_EXTENSIONS_MAX; i++) {
		if (next == IPPROTO_TCP)
			return np_guard_tcp(pkt, header, end, left);
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT)
			return NP_GUARD_PROTO;
		ext = (const void *)header;
		if ((const void *)(ext + 1) > end)
			return NP_GUARD_CUT;
		bytes = sizeof(*ext);
		if (next == IPPROTO_FRAGMENT) {
			if (ext->fragment & bpf_htons(0xfff8))
				return NP_GUARD_FRAGMENT;
			if (ext->fragment & bpf_htons(1))
				pkt->is_fragment = 1;
		} else {
			bytes += ext->length * 8;
		}
		if (bytes > left)
			return NP_GUARD_BAD;
		left -= bytes;
		header += bytes;
		next = ext->next;
	}
	return next == IPPROTO_TCP ? np_guard_tcp(pkt, header, end, left) : NP_GUARD_CHAIN;
}

/* `pkt` must be zeroed. `data` begins with the Ethernet header. */
static __always_inline int np_guard_parse(struct np_guard_packet *pkt, const void *data,
					  const void *end)
{
	const struct ethhdr *eth = data;
	const void *at = eth + 1;
	const struct np_guard_vlan *vlan;
	__be16 type;
	int i;

	if (at > end)
		return NP_GUARD_CUT;
	type = eth->h_proto;
	for (i = 0; i < NP_VLAN_TAGS_MAX; i++) {
		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		vlan = at;
		at = vlan + 1;
		if (at > end)
			return NP_GUARD_CUT;
		type = vlan->type;
	}
	if (type == bpf_htons(ETH_P_IP))
		return np_guard_v4(pkt, at, end);
	if (type == bpf_htons(ETH_P_IPV6))
		return np_guard_v6(pkt, at, end);
	return NP_GUARD_NOT_IP;
}

#endif /* NP_GUARD_PARSE_BPF_H */
