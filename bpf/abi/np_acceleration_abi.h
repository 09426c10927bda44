/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * The contract between bpf/accelerate.bpf.c and the self-test that loads it
 * (daemon/kernel/accelerated_pairs.h). These maps are never pinned and live as long as one run, so
 * a change here needs no new NP_ABI_VERSION.
 */
#ifndef NP_ACCELERATION_ABI_H
#define NP_ACCELERATION_ABI_H

#include "bpf/abi/np_abi.h"

/* One run makes fewer connections than half of this: each has two ends. */
#define NP_ACC_SOCKETS_MAX 1024

/* What one direction of a connection may have redirected, ever. The kernel bounds what waits for a
 * reader of redirected bytes only by the memory of the whole node (docs/acceleration.md). */
#define NP_ACC_WINDOW_BYTES (64 * 1024)

/* What a redirected message costs beside its bytes: struct sk_msg and its part of a page. Without
 * it, messages of one byte would hold a thousand times the window. */
#define NP_ACC_MESSAGE_BYTES 1024

/* One end of a connection, as its own socket sees it. */
struct np_acc_key {
	__u8 local[16];
	__u8 remote[16];
	__u16 lport;
	__u16 rport;
};
NP_ABI_ASSERT(sizeof(struct np_acc_key) == 36);
NP_ABI_ASSERT(NP_ABI_OFFSET(struct np_acc_key, remote) == 16);
NP_ABI_ASSERT(NP_ABI_OFFSET(struct np_acc_key, lport) == 32);
NP_ABI_ASSERT(NP_ABI_OFFSET(struct np_acc_key, rport) == 34);

enum np_acc_route {
	NP_ACC_UNDECIDED = 0,
	NP_ACC_REDIRECT = 1,
	NP_ACC_STACK = 2, /* for good: a byte that was redirected later would overtake */
};

/* What one end has sent. */
struct np_acc_flow {
	__u64 bytes;	/* redirected */
	__u64 messages; /* redirected */
	__u32 route;	/* enum np_acc_route */
	__u32 pad;
};
NP_ABI_ASSERT(sizeof(struct np_acc_flow) == 24);
NP_ABI_ASSERT(NP_ABI_OFFSET(struct np_acc_flow, route) == 16);

/* np_acc_st: each run of a program leaves by exactly one of these. */
#define NP_ACC_STATS(X)                                                                            \
	X(redirected, "message that went from socket to socket")                                   \
	X(stack_route, "message over the stack: an earlier one of this end went there")            \
	X(stack_window, "message over the stack: the window is used up")                           \
	X(stack_peer, "message over the stack: the other end is not enrolled")                     \
	X(stack_unknown, "message over the stack: this end has no record")                         \
	X(enrolled, "end of a connection enrolled when it was established")                        \
	X(enrol_failed, "end of a connection that the kernel did not take")                        \
	X(enrol_full, "end of a connection for which no record was left")                          \
	X(no_connection, "call of the enrolment that establishes nothing")

#define NP_ACC_FIELD(name, help) __u64 name;
struct np_acc_st {
	NP_ACC_STATS(NP_ACC_FIELD)
};
#undef NP_ACC_FIELD
NP_ABI_ASSERT(sizeof(struct np_acc_st) == 9 * 8);

#endif /* NP_ACCELERATION_ABI_H */
