/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * From a frame to a struct np_packet: Ethernet without VLAN, IPv4 with options, IPv6 with extension
 * headers, fragments, TCP. Copies with bpf_skb_load_bytes, so headers outside the linear part of
 * the skb are no special case.
 */
#ifndef NP_PARSE_BPF_H
#define NP_PARSE_BPF_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NP_EXTENSIONS_MAX    8 /* IPv6 extension headers before we call it bypass_proto */

#define NP_TCP_FIN	     0x01
#define NP_TCP_SYN	     0x02
#define NP_TCP_RST	     0x04
#define NP_TCP_ACK	     0x10

#define NP_IP_MORE_FRAGMENTS 0x2000
#define NP_IP_OFFSET_MASK    0x1fff

enum np_parse {
	NP_PARSE_TCP,
	NP_PARSE_FRAGMENT, /* first fragment of a TCP segment: addresses and ports are valid */
	NP_PARSE_FRAGMENT_LATER, /* addresses are valid, ports are not there */
	NP_PARSE_UDP,
	NP_PARSE_OTHER_PROTO, /* addresses are valid */
	NP_PARSE_NOT_IP,
	NP_PARSE_BAD,
};

struct np_packet {
	__u8 saddr[16];
	__u8 daddr[16];
	__u16 sport;
	__u16 dport;
	__u32 seq;
	__u32 ack;
	__u32 payload_bytes;
	__u8 flags; /* NP_TCP_* */
	__u8 fragment;
	__u8 proto;
	__u8 is_v4;
};

static __always_inline int np_parse_tcp(struct __sk_buff *skb, struct np_packet *pkt, __u32 offset,
					__u32 l4_bytes)
{
	struct tcphdr tcp;
	__u32 header_bytes;

	if (bpf_skb_load_bytes(skb, offset, &tcp, sizeof(tcp)))
		return NP_PARSE_BAD;
	pkt->sport = bpf_ntohs(tcp.source);
	pkt->dport = bpf_ntohs(tcp.dest);
	if (pkt->fragment)
		return NP_PARSE_FRAGMENT;
	header_bytes = tcp.doff * 4;
	if (header_bytes < sizeof(tcp) || header_bytes > l4_bytes)
		return NP_PARSE_BAD;
	pkt->seq = bpf_ntohl(tcp.seq);
	pkt->ack = bpf_ntohl(tcp.ack_seq);
	pkt->payload_bytes = l4_bytes - header_bytes;
	pkt->flags = ((__u8 *)&tcp)[13];
	return NP_PARSE_TCP;
}

static __always_inline int np_parse_l4(struct __sk_buff *skb, struct np_packet *pkt, __u32 offset,
				       __u32 l4_bytes)
{
	if (pkt->proto == IPPROTO_UDP)
		return NP_PARSE_UDP;
	if (pkt->proto != IPPROTO_TCP)
		return NP_PARSE_OTHER_PROTO;
	if (pkt->fragment > 1)
		return NP_PARSE_FRAGMENT_LATER;
	return np_parse_tcp(skb, pkt, offset, l4_bytes);
}

static __always_inline int np_parse_v4(struct __sk_buff *skb, struct np_packet *pkt)
{
	struct iphdr ip;
	__u32 header_bytes, total_bytes;
	__u16 fragment;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return NP_PARSE_BAD;
	header_bytes = ip.ihl * 4;
	if (ip.version != 4 || header_bytes < sizeof(ip))
		return NP_PARSE_BAD;
	/* A total length of 0 is a BIG TCP super-packet. Otherwise the frame may be longer than the
	 * packet: short ones are padded. */
	total_bytes = bpf_ntohs(ip.tot_len);
	if (total_bytes == 0)
		total_bytes = skb->len - ETH_HLEN;
	if (total_bytes < header_bytes || total_bytes > skb->len - ETH_HLEN)
		return NP_PARSE_BAD;
	pkt->is_v4 = 1;
	pkt->proto = ip.protocol;
	pkt->saddr[10] = pkt->saddr[11] = pkt->daddr[10] = pkt->daddr[11] = 0xff;
	__builtin_memcpy(&pkt->saddr[12], &ip.saddr, 4);
	__builtin_memcpy(&pkt->daddr[12], &ip.daddr, 4);
	fragment = bpf_ntohs(ip.frag_off);
	if (fragment & NP_IP_OFFSET_MASK)
		pkt->fragment = 2;
	else if (fragment & NP_IP_MORE_FRAGMENTS)
		pkt->fragment = 1;
	return np_parse_l4(skb, pkt, ETH_HLEN + header_bytes, total_bytes - header_bytes);
}

/* Walks over one extension header. Returns 1 when there may be another, 0 at the upper layer. */
static __always_inline int np_skip_extension(struct __sk_buff *skb, struct np_packet *pkt,
					     __u32 *offset)
{
	struct {
		__u8 next;
		__u8 length;
		__be16 fragment;
	} ext;

	switch (pkt->proto) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_FRAGMENT:
		break;
	default:
		return 0;
	}
	if (bpf_skb_load_bytes(skb, *offset, &ext, sizeof(ext)))
		return -1;
	if (pkt->proto == IPPROTO_FRAGMENT) {
		if (bpf_ntohs(ext.fragment) & ~7)
			pkt->fragment = 2;
		else if (bpf_ntohs(ext.fragment) & 1)
			pkt->fragment = 1;
		*offset += 8;
	} else {
		*offset += (ext.length + 1) * 8;
	}
	pkt->proto = ext.next;
	/* The upper layer is not in a later fragment: what follows is payload. */
	return pkt->fragment < 2;
}

static __always_inline int np_parse_v6(struct __sk_buff *skb, struct np_packet *pkt)
{
	struct ipv6hdr ip;
	__u32 offset = ETH_HLEN + sizeof(ip);
	__u32 end;
	int i, more = 1;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return NP_PARSE_BAD;
	if (ip.version != 6)
		return NP_PARSE_BAD;
	end = offset + bpf_ntohs(ip.payload_len);
	if (ip.payload_len == 0) /* jumbo: BIG TCP */
		end = skb->len;
	if (end > skb->len)
		return NP_PARSE_BAD;
	pkt->proto = ip.nexthdr;
	__builtin_memcpy(pkt->saddr, &ip.saddr, 16);
	__builtin_memcpy(pkt->daddr, &ip.daddr, 16);
	for (i = 0; i < NP_EXTENSIONS_MAX && more > 0; i++)
		more = np_skip_extension(skb, pkt, &offset);
	if (more < 0 || offset > end)
		return NP_PARSE_BAD;
	return np_parse_l4(skb, pkt, offset, end - offset);
}

/* `pkt` must be zeroed. Returns enum np_parse. */
static __always_inline int np_parse(struct __sk_buff *skb, struct np_packet *pkt)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return np_parse_v4(skb, pkt);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return np_parse_v6(skb, pkt);
	return NP_PARSE_NOT_IP;
}

#endif /* NP_PARSE_BPF_H */
