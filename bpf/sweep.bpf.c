// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * np_sweep: run by the supervisor about once a second (BPF_PROG_RUN). Removes records of np_flows
 * that nobody needs any more. It is a program and not user space, so that np_flows and the totals
 * have one writer and no record can change between the decision and the removal.
 */
#include "bpf/lib/flow.bpf.h"

struct np_sweep_pass {
	struct np_sweep_args args;
	__u64 now;
};

#define NP_KEEP_FOREVER (~0ull)

/* The pod left, or has another interface by now: nothing will tell how this connection ended, and
 * were it not ended here, it would count against the pod's cap for as long as the totals live. */
static __always_inline int np_is_orphan(const struct np_flow *flow, const struct np_flow_key *key)
{
	struct np_pod_key address;
	const struct np_pod *pod;

	__builtin_memcpy(address.ip, key->saddr, sizeof(address.ip));
	pod = bpf_map_lookup_elem(&np_pods, &address);
	return !pod || pod->pod_id != flow->pod_id || pod->ifindex != key->ifindex;
}

/* How long a record may rest before it is removed. */
static __always_inline __u64 np_keep_ns(const struct np_flow *flow,
					const struct np_sweep_args *args)
{
	switch (flow->state) {
	case NP_FLOW_CLOSED:
		return args->closed_ttl_ns;
	case NP_FLOW_SYN:
		return args->syn_ttl_ns;
	case NP_FLOW_FIN:
		return args->idle_ttl_ns;
	default: /* established flows may be idle for days */
		return NP_KEEP_FOREVER;
	}
}

static long np_sweep_one(void *map, const void *key, struct np_flow *flow,
			 struct np_sweep_pass *pass)
{
	struct np_flow_key copy;
	__u64 keep;

	__builtin_memcpy(&copy, key, sizeof(copy));
	if (flow->state != NP_FLOW_CLOSED && np_is_orphan(flow, &copy)) {
		flow->last_ns = pass->now;
		np_close(flow, &copy, pass->now);
	}
	keep = np_keep_ns(flow, &pass->args);
	if (keep == NP_KEEP_FOREVER || (__s64)(pass->now - flow->last_ns) < (__s64)keep) {
		if (flow->state == NP_FLOW_CLOSED)
			pass->args.closed++;
		else
			pass->args.live++;
		return 0;
	}
	np_close(flow, &copy, pass->now);
	if (bpf_map_delete_elem(&np_flows, &copy) == 0)
		pass->args.removed++;
	return 0;
}

SEC("syscall")
int np_sweep(struct np_sweep_args *args)
{
	struct np_sweep_pass pass = {};

	pass.args.closed_ttl_ns = args->closed_ttl_ns;
	pass.args.syn_ttl_ns = args->syn_ttl_ns;
	pass.args.idle_ttl_ns = args->idle_ttl_ns;
	pass.now = bpf_ktime_get_ns();
	bpf_for_each_map_elem(&np_flows, np_sweep_one, &pass, 0);
	args->live = pass.args.live;
	args->closed = pass.args.closed;
	args->removed = pass.args.removed;
	return 0;
}
