/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Every map, once. They are __weak because each program family is compiled on its own and bpftool
 * links the objects into one: the definitions merge. Pins live under /sys/fs/bpf/INSTANCE/vN/maps.
 */
#ifndef NP_MAPS_BPF_H
#define NP_MAPS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "bpf/abi/np_abi.h"

/* Settings. Written by the supervisor, read by all programs and tools; lives as long as the pins.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, struct np_config);
} np_config __weak SEC(".maps");

/* Heartbeat and switches. Apart from np_config, because RDONLY_PROG and a writable mmap exclude
 * each other. Written by the worker, and by the supervisor while it restarts one. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct np_live);
} np_live __weak SEC(".maps");

/* Pods of this node by address. Full: the attach is refused with a message. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NP_PODS_MAX);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, struct np_pod_key);
	__type(value, struct np_pod);
} np_pods __weak SEC(".maps");

/* Totals and caps per pod. The supervisor makes entries, programs write them. Full: the totals of a
 * pod that is gone are removed for the new one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NP_PODS_MAX);
	__type(key, __u32);
	__type(value, struct np_podst);
} np_podst __weak SEC(".maps");

/* What is captured. Written by the worker. Full: the policy is refused. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NP_SVC_MAX);
	__uint(map_flags, BPF_F_RDONLY_PROG | BPF_F_NO_PREALLOC);
	__type(key, struct np_svc_key);
	__type(value, struct np_svc);
} np_svc __weak SEC(".maps");

/* Totals per service; the worker makes entries, programs write them. Full: totals are missing. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NP_SVC_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct np_svcst);
} np_svcst __weak SEC(".maps");

/* Captured prefixes of external hosts without a fixed address. Written by the worker. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, NP_CIDR_MAX);
	__uint(map_flags, BPF_F_RDONLY_PROG | BPF_F_NO_PREALLOC);
	__type(key, struct np_cidr_key);
	__type(value, struct np_svc);
} np_cidr __weak SEC(".maps");

/* Captured connections. Programs alone write and remove; preallocated, so that a SYN burst cannot
 * fail on memory. Full: the destination's fail mode applies; a live flow is never evicted. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NP_FLOWS_MAX);
	__type(key, struct np_flow_key);
	__type(value, struct np_flow);
} np_flows __weak SEC(".maps");

/* Listening sockets. Written by the supervisor; the kernel empties a slot when its socket closes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, NP_LISTENERS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} np_listeners __weak SEC(".maps");

/* Counters: plain memory of the worker, mapped. No program touches these. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NP_CONN_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct np_conn);
} np_conn __weak SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NP_COUNTER_BLOCKS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct np_counters);
} np_counters __weak SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NP_LIMIT_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct np_limit);
} np_limit __weak SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NP_EJECT_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct np_eject_key);
	__type(value, struct np_eject);
} np_eject __weak SEC(".maps");

/* One named counter per reason; programs write, everybody reads. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct np_stats);
} np_stats __weak SEC(".maps");

/* The admission guard of the uplinks. Denied sources; written by the worker. Full: refused. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, NP_GUARD_LPM_MAX);
	__uint(map_flags, BPF_F_RDONLY_PROG | BPF_F_NO_PREALLOC);
	__type(key, struct np_guard_net);
	__type(value, struct np_guard_rule);
} np_guard_lpm __weak SEC(".maps");

/* Guarded destinations. The worker makes and removes entries, programs take from the buckets. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NP_GUARD_DST_MAX);
	__type(key, struct np_guard_key);
	__type(value, struct np_guard_dst);
} np_guard_dst __weak SEC(".maps");

/* One named counter per reason; programs write, everybody reads. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct np_guard_st);
} np_guard_st __weak SEC(".maps");

/* What flows and endpoints do, while NP_LIVE_EVENTS is set. Full: events are lost, nothing else.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, NP_EVENTS_BYTES);
} np_events __weak SEC(".maps");

/* Where np_pod_in builds a new record, which is too big for its stack. Never pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct np_flow);
} np_scratch __weak SEC(".maps");

#endif /* NP_MAPS_BPF_H */
