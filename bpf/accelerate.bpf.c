// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * np_acc_open (sock_ops) enrols both ends of a connection when it is established; np_acc_msg
 * (sk_msg) hands what one end sends to the other end's socket, past the stack. Loaded only by the
 * self-test of acceleration, for sockets of its own: no pod's byte comes here.
 *
 * Fails open: whatever is not redirected takes the stack as if no program was there. Two rules keep
 * the order of bytes and the memory of a peer that does not read:
 *   - a reader takes redirected bytes before those of the stack. So an end that has sent one
 *     message over the stack stays there;
 *   - an end leaves for the stack, whose buffers are bounded, when its window is used up. What was
 *     redirected before is read before.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "bpf/abi/np_acceleration_abi.h"

#define NP_AF_INET 2

/* Read by the tests of the self-test, which break one rule and expect it to be noticed. */
const volatile __u64 np_acc_window_bytes = NP_ACC_WINDOW_BYTES;
const volatile __u32 np_acc_keeps_route = 1;

/* Enrolled ends. Written by np_acc_open and the self-test; the kernel removes what is closed. Full:
 * the connection stays on the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, NP_ACC_SOCKETS_MAX);
	__type(key, struct np_acc_key);
	__type(value, __u64);
} np_acc_socks SEC(".maps");

/* What each end has sent. Written by the programs, read by the self-test; lives as long as the run.
 * Full: the connection stays on the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NP_ACC_SOCKETS_MAX);
	__type(key, struct np_acc_key);
	__type(value, struct np_acc_flow);
} np_acc_flows SEC(".maps");

/* One named counter per reason; the programs write, the self-test reads. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct np_acc_st);
} np_acc_st SEC(".maps");

static __always_inline void np_acc_map_v4(__u8 to[16], __u32 ip_be)
{
	__builtin_memset(to, 0, 10);
	to[10] = to[11] = 0xff;
	__builtin_memcpy(to + 12, &ip_be, 4);
}

/* The verifier takes no load of two words of a context at once, which the compiler would make. */
#define NP_ACC_WORD(ip, i) (*(const volatile __u32 *)&(ip)[i])

static __always_inline void np_acc_put_words(__u8 to[16], __u32 a, __u32 b, __u32 c, __u32 d)
{
	__u32 words[4] = {a, b, c, d};

	__builtin_memcpy(to, words, 16);
}
#define NP_ACC_PUT_V6(to, ip)                                                                      \
	np_acc_put_words(to, NP_ACC_WORD(ip, 0), NP_ACC_WORD(ip, 1), NP_ACC_WORD(ip, 2),           \
			 NP_ACC_WORD(ip, 3))

/* A macro, because the two contexts are of different types with fields of the same names. */
#define NP_ACC_KEY(key, ctx)                                                                       \
	do {                                                                                       \
		if ((ctx)->family == NP_AF_INET) {                                                 \
			np_acc_map_v4((key)->local, (ctx)->local_ip4);                             \
			np_acc_map_v4((key)->remote, (ctx)->remote_ip4);                           \
		} else {                                                                           \
			NP_ACC_PUT_V6((key)->local, (ctx)->local_ip6);                             \
			NP_ACC_PUT_V6((key)->remote, (ctx)->remote_ip6);                           \
		}                                                                                  \
		(key)->lport = (__u16)(ctx)->local_port;                                           \
		(key)->rport = (__u16)bpf_ntohl((ctx)->remote_port);                               \
	} while (0)

static __always_inline void np_acc_turn(struct np_acc_key *to, const struct np_acc_key *from)
{
	__builtin_memcpy(to->local, from->remote, 16);
	__builtin_memcpy(to->remote, from->local, 16);
	to->lport = from->rport;
	to->rport = from->lport;
}

static __always_inline struct np_acc_st *np_acc_st_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&np_acc_st, &zero);
}

/* Which counter says where this message goes; `flow` is kept up to date. */
static __always_inline __u64 *np_acc_route_of(struct sk_msg_md *msg, const struct np_acc_key *key,
					      struct np_acc_flow *flow, struct np_acc_st *st)
{
	struct np_acc_key peer;
	__u64 cost = flow->bytes + msg->size + (flow->messages + 1) * NP_ACC_MESSAGE_BYTES;

	if (flow->route == NP_ACC_STACK && np_acc_keeps_route)
		return &st->stack_route;
	if (cost > np_acc_window_bytes) {
		flow->route = NP_ACC_STACK;
		return &st->stack_window;
	}
	np_acc_turn(&peer, key);
	if (bpf_msg_redirect_hash(msg, &np_acc_socks, &peer, BPF_F_INGRESS) != SK_PASS) {
		flow->route = NP_ACC_STACK;
		return &st->stack_peer;
	}
	flow->route = NP_ACC_REDIRECT;
	flow->bytes += msg->size;
	flow->messages++;
	return &st->redirected;
}

/* Runs under the sending socket's lock, so one end's record has one writer at a time. */
SEC("sk_msg")
int np_acc_msg(struct sk_msg_md *msg)
{
	struct np_acc_st *st = np_acc_st_here();
	struct np_acc_flow *flow;
	struct np_acc_key key;

	if (!st)
		return SK_PASS; /* cannot be: it is an array */
	NP_ACC_KEY(&key, msg);
	flow = bpf_map_lookup_elem(&np_acc_flows, &key);
	if (flow)
		++*np_acc_route_of(msg, &key, flow, st);
	else
		st->stack_unknown++;
	return SK_PASS;
}

SEC("sockops")
int np_acc_open(struct bpf_sock_ops *ops)
{
	struct np_acc_st *st = np_acc_st_here();
	struct np_acc_flow fresh = {};
	struct np_acc_key key;

	if (!st)
		return 1; /* cannot be: it is an array */
	if (ops->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB &&
	    ops->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
		st->no_connection++;
		return 1;
	}
	NP_ACC_KEY(&key, ops);
	if (bpf_map_update_elem(&np_acc_flows, &key, &fresh, BPF_ANY)) {
		st->enrol_full++;
		return 1;
	}
	if (bpf_sock_hash_update(ops, &np_acc_socks, &key, BPF_ANY))
		st->enrol_failed++;
	else
		st->enrolled++;
	return 1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
