/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * The contract between the kernel programs (bpf/) and the daemon: every map's key and value, the
 * enums and limits in them, and the names things are pinned by. Compiles as C (clang -target bpf)
 * and as C++. Pinned maps outlive a daemon, so a change of any layout here raises NP_ABI_VERSION.
 *
 * Rules: fixed-width fields, explicit padding, u64 counters, addresses 16 bytes (IPv4 v4-mapped) in
 * network order, ports in HOST order so that `bpftool map dump` can be read.
 */
#ifndef NP_ABI_H
#define NP_ABI_H

#include <linux/types.h>

#ifdef __cplusplus
#include <cstddef>
#define NP_ABI_ASSERT(condition)   static_assert(condition)
#define NP_ABI_OFFSET(type, field) offsetof(type, field)
#else
#define NP_ABI_ASSERT(condition)   _Static_assert(condition, #condition)
#define NP_ABI_OFFSET(type, field) __builtin_offsetof(type, field)
#endif

#define NP_ABI_VERSION 2

/* Sizes. The three *_MAX marked "load-time" may be lowered when the maps are created. */
#define NP_PODS_MAX		4096
#define NP_SVC_MAX		65536
#define NP_CIDR_MAX		4096
#define NP_FLOWS_MAX		65536 /* load-time */
#define NP_CONN_MAX		65536 /* load-time */
#define NP_LIMIT_MAX		65536
#define NP_EJECT_MAX		16384
#define NP_GUARD_LPM_MAX	16384
#define NP_GUARD_DST_MAX	4096
#define NP_EVENTS_BYTES		(256 * 1024)
#define NP_LISTENERS_PER_FAMILY 32
#define NP_LISTENERS_MAX	(2 * NP_LISTENERS_PER_FAMILY)
#define NP_COUNTER_BLOCKS	64
#define NP_COUNTER_BLOCK_BYTES	8192
#define NP_NAME_BYTES		64 /* text of a service or pod, zero-terminated, cut when longer */

/* What happens to a connection that cannot be served. */
enum np_fail {
	NP_FAIL_DEFAULT = 0, /* of the service: use the pod's; of the pod: use np_config's */
	NP_FAIL_OPEN = 1,    /* connects directly */
	NP_FAIL_CLOSED = 2,  /* refused at once */
};

enum np_action {
	NP_ACTION_CAPTURE = 1,
	NP_ACTION_BYPASS = 2, /* new connections go direct */
	NP_ACTION_REJECT = 3, /* new connections are reset */
	NP_ACTION_DRAIN = 4,  /* the policy is gone: captured flows finish, new ones go direct */
};

enum np_flow_state {
	NP_FLOW_SYN = 1,    /* SYN seen, not yet answered and acknowledged */
	NP_FLOW_EST = 2,    /* three-way handshake seen */
	NP_FLOW_FIN = 3,    /* one side has finished */
	NP_FLOW_CLOSED = 4, /* both sides finished, or reset; kept for readers */
};

/* np_flow.flags, changed by atomic operations: both directions may be handled at once */
#define NP_FLOW_TX_FIN 0x01 /* the pod's FIN was seen */
#define NP_FLOW_RX_FIN 0x02 /* the proxy's FIN was seen */
#define NP_FLOW_RX_ISN 0x04 /* rx_isn is valid: SYN-ACK was seen */
#define NP_FLOW_RESET  0x08 /* ended by RST */
#define NP_FLOW_BOOKED 0x10 /* its end is counted in the totals */

/* np_live.flags */
#define NP_LIVE_OVERLOAD   0x01 /* new connections follow their fail mode */
#define NP_LIVE_DRAIN	   0x02 /* same, because the daemon is leaving */
#define NP_LIVE_KILLSWITCH 0x04 /* new connections go direct, whatever their policy says */
#define NP_LIVE_EVENTS	   0x08 /* somebody reads np_events */

/* np_config, ARRAY 1, read-only for programs. Writer: supervisor. Readers: all programs, tools. */
struct np_config {
	__u32 abi;  /* NP_ABI_VERSION of who created the maps */
	__u32 size; /* sizeof(struct np_config) of who created the maps */
	__u64 hb_timeout_ns;
	__u64 policy_gen;
	__u32 np0_ifindex; /* host end of the veth into the proxy namespace; 0: none */
	__u16 band_lo;	   /* ports of `source: pod` upstream sockets, inclusive; lo > hi: none */
	__u16 band_hi;
	__u8 default_fail; /* enum np_fail, never NP_FAIL_DEFAULT */
	__u8 k_listeners;  /* listeners per family */
	__u8 npx_mac[6];   /* of the end of that veth inside the proxy namespace */
	__u32 proxy_nsid;  /* the proxy namespace as the host's namespace numbers it */
	__u8 pad[4];
};
NP_ABI_ASSERT(sizeof(struct np_config) == 48);
NP_ABI_ASSERT(NP_ABI_OFFSET(struct np_config, proxy_nsid) == 40);

/* np_live, ARRAY 1, mmapped. Writer: worker (supervisor while it restarts one). */
struct np_live {
	__u64 heartbeat_ns; /* CLOCK_MONOTONIC of the last sign of life */
	__u32 flags;	    /* NP_LIVE_* */
	__u32 daemon_pid;
	__u64 epoch;	      /* number of workers started since the maps were made */
	__u64 reset_until_ns; /* until then segments of covered flows never captured draw RST */
};
NP_ABI_ASSERT(sizeof(struct np_live) == 32);

/* np_pods, HASH: address -> pod. Read-only for programs. Writer: supervisor. */
struct np_pod_key {
	__u8 ip[16];
};
struct np_pod {
	__u32 ifindex; /* host end of the pod's veth: this, not the address, is the identity */
	__u32 pod_id;
	__u32 max_flows; /* open flows; 0: no cap */
	__u32 syn_rate;	 /* new flows per second; 0: no cap */
	__u32 syn_burst;
	__u8 fail;	/* enum np_fail */
	__u8 slot;	/* listener 0..NP_LISTENERS_PER_FAMILY-1 */
	__u8 mac[6];	/* of the pod's interface; zero: unknown */
	__u8 gw_mac[6]; /* the pod's gateway as it sees it; zero: unknown */
	__u8 pad[6];
	__u64 since_ns;		  /* CLOCK_REALTIME of the attach */
	char name[NP_NAME_BYTES]; /* "namespace/name" */
};
NP_ABI_ASSERT(sizeof(struct np_pod_key) == 16);
NP_ABI_ASSERT(sizeof(struct np_pod) == 112);
NP_ABI_ASSERT(NP_ABI_OFFSET(struct np_pod, since_ns) == 40);

/*
 * np_podst, HASH: pod_id -> totals and caps of a pod. Made by the supervisor, values written by
 * programs only; they outlive the pod, so that one that comes back goes on counting, until the room
 * is needed for another. `lock` guards tokens and refill_ns.
 */
struct np_podst {
#ifdef __bpf__
	struct bpf_spin_lock lock;
#else
	__u32 lock;
#endif
	__u8 mac[6]; /* from the latest captured SYN frame: fresher than np_pod's */
	__u8 gw_mac[6];
	__u64 tokens; /* in 1/1e9 of a connection */
	__u64 refill_ns;
	__u64 opened; /* flows; open now = opened - closed */
	__u64 closed;
	__u64 syn_ok;
	__u64 syn_drop_rate;
	__u64 syn_drop_cap;
	__u64 failopen;
	__u64 failclosed;
	__u64 tx_pkts; /* from the pod */
	__u64 tx_bytes;
	__u64 rx_pkts; /* to the pod */
	__u64 rx_bytes;
};
NP_ABI_ASSERT(sizeof(struct np_podst) == 120);
NP_ABI_ASSERT(NP_ABI_OFFSET(struct np_podst, tokens) == 16);

/* np_svc, HASH: dialled address -> service. Read-only for programs. Writer: worker. */
struct np_svc_key {
	__u8 ip[16];
	__u16 port;
	__u8 proto; /* IPPROTO_TCP */
	__u8 pad;
};
/* Value of np_svc and np_cidr. */
struct np_svc {
	__u32 svc_id;
	__u8 action; /* enum np_action */
	__u8 fail;   /* enum np_fail */
	__u16 flags; /* 0 */
	__u64 gen;   /* policy generation that wrote it */
	char name[NP_NAME_BYTES];
};
NP_ABI_ASSERT(sizeof(struct np_svc_key) == 20);
NP_ABI_ASSERT(NP_ABI_OFFSET(struct np_svc_key, port) == 16);
NP_ABI_ASSERT(sizeof(struct np_svc) == 80);

/*
 * np_cidr, LPM_TRIE: {port, prefix} -> service, asked when np_svc has no entry. The port comes
 * first, so that it always matches in full: prefixlen = 16 + bits of the 16-byte address.
 * port_be is in network order, because a trie compares bits.
 */
struct np_cidr_key {
	__u32 prefixlen;
	__u16 port_be;
	__u8 ip[16];
	__u8 pad[2]; /* never compared */
};
#define NP_CIDR_BITS_MAX (16 + 128)
NP_ABI_ASSERT(sizeof(struct np_cidr_key) == 24);
NP_ABI_ASSERT(NP_ABI_OFFSET(struct np_cidr_key, ip) == 6);

/* np_svcst, HASH: svc_id -> totals of a service. Made by the worker, values written by programs. */
struct np_svcst {
	__u64 opened;
	__u64 closed;
	__u64 failopen;
	__u64 failclosed;
	__u64 tx_pkts;
	__u64 tx_bytes;
	__u64 rx_pkts;
	__u64 rx_bytes;
	char name[NP_NAME_BYTES];
};
NP_ABI_ASSERT(sizeof(struct np_svcst) == 128);

/*
 * np_flows, HASH: one record per captured connection; programs alone write the values. "tx" is from
 * the pod. Bytes are TCP payload by sequence number: highest end seen - ISN - 1, without the FIN.
 */
struct np_flow_key {
	__u8 saddr[16]; /* pod */
	__u8 daddr[16]; /* as dialled */
	__u16 sport;
	__u16 dport;
	__u32 ifindex;
};
struct np_flow {
	__u64 start_ns; /* CLOCK_MONOTONIC */
	__u64 last_ns;	/* of the latest packet either way; of the end once CLOSED */
	__u64 tx_pkts;
	__u64 tx_bytes;
	__u64 rx_pkts;
	__u64 rx_bytes;
	__u64 policy_gen;
	__u32 pod_id;
	__u32 svc_id;
	__u32 tx_isn;
	__u32 rx_isn;
	__u32 syn_isn; /* of the latest SYN: differs from tx_isn when the pod reuses its port */
	__u32 flags;   /* NP_FLOW_* */
	__u8 state;    /* enum np_flow_state */
	__u8 fail;     /* enum np_fail that applied at its SYN */
	__u8 slot;     /* listener */
	__u8 pad[5];
	char svc[NP_NAME_BYTES];
	char pod[NP_NAME_BYTES];
};
NP_ABI_ASSERT(sizeof(struct np_flow_key) == 40);
NP_ABI_ASSERT(NP_ABI_OFFSET(struct np_flow_key, sport) == 32);
NP_ABI_ASSERT(NP_ABI_OFFSET(struct np_flow_key, ifindex) == 36);
NP_ABI_ASSERT(sizeof(struct np_flow) == 216);
NP_ABI_ASSERT(NP_ABI_OFFSET(struct np_flow, svc) == 88);

/* np_listeners, SOCKMAP: slot (IPv4) or NP_LISTENERS_PER_FAMILY + slot (IPv6) -> listening socket;
 * the value read by user space is the socket's cookie. Writer: supervisor. */

/* np_conn, ARRAY, mmapped: the L7 counters of one connection; the daemon's FlowRecord. Writer: the
 * worker thread that owns the slot. Readers check `seq`: odd while it is being written. */
struct np_conn {
	__u32 seq;
	__u32 state; /* 0 free, 1 open, 2 closed */
	__u32 pod_id;
	__u32 svc_id;
	__u32 route_id;
	__u32 endpoint_id;
	struct np_flow_key key;
	__u64 started;
	__u64 completed;
	__u64 refused;
	__u64 aborted;
	__u64 status_2xx;
	__u64 status_3xx;
	__u64 status_4xx;
	__u64 status_5xx;
	__u64 delays;
	__u64 fault_aborts;
	__u64 retries;
	__u64 bytes_up;
	__u64 bytes_down;
	__u64 start_ns;
	__u64 last_ns;
	__u64 reserved;
};
NP_ABI_ASSERT(sizeof(struct np_conn) == 192);

/* np_counters, ARRAY, mmapped: one block of named u64 per shard (daemon/proxy/counters.h gives the
 * names); it outlives a worker, so that no metric goes back. */
struct np_counters {
	__u64 word[NP_COUNTER_BLOCK_BYTES / 8];
};
NP_ABI_ASSERT(sizeof(struct np_counters) == NP_COUNTER_BLOCK_BYTES);

/* np_limit, ARRAY, mmapped: live state of one connection or request limit. Writer: worker. */
struct np_limit {
	__u64 active;
	__u64 max; /* 0: none */
	__u64 rejected;
	__u64 pending;
};
NP_ABI_ASSERT(sizeof(struct np_limit) == 32);

/* np_eject, HASH: ejection state of an endpoint. Writer: worker, before a request is sent. */
struct np_eject_key {
	__u8 ip[16];
	__u16 port;
	__u16 pad;
	__u32 svc_id;
};
struct np_eject {
	__u64 until_ns;	  /* CLOCK_REALTIME, so that it means the same after a restart */
	__u32 state;	  /* 0 in service, 1 ejected */
	__u32 count;	  /* times ejected in a row */
	__u32 unanswered; /* requests sent and not answered; after a kill they count as failures */
	__u32 failures;	  /* consecutive */
};
NP_ABI_ASSERT(sizeof(struct np_eject_key) == 24);
NP_ABI_ASSERT(sizeof(struct np_eject) == 24);

/*
 * np_stats, PERCPU_ARRAY 1. Every packet leaves a program by exactly one exit, and each exit counts
 * one reason; causes are counted beside failopen and failclosed. The names are also metric names.
 *   X(name, what it counts)
 */
#define NP_STATS_POD_IN_EXITS(X)                                                                   \
	X(captured, "segments handed to the proxy")                                                \
	X(bypass, "TCP to a destination without policy")                                           \
	X(bypass_udp, "UDP, never captured")                                                       \
	X(bypass_proto, "IP, neither TCP nor UDP")                                                 \
	X(bypass_not_ip, "not IP: ARP, VLAN and others")                                           \
	X(bypass_action, "new connection to a destination set to bypass")                          \
	X(bypass_drain, "new connection to a destination whose policy was removed")                \
	X(bypass_midflow, "segment of a connection that began before its policy")                  \
	X(killswitch, "new connection while capture is switched off")                              \
	X(failopen, "new connection that went direct because it could not be served")              \
	X(failclosed, "new connection refused because it could not be served")                     \
	X(reject, "new connection to a destination set to reject")                                 \
	X(frag, "fragment that passed: not captured")                                              \
	X(frag_drop, "fragment dropped: fail closed, or of a captured flow")                       \
	X(spoof, "new connection whose source is not registered for its interface, passed")        \
	X(spoof_drop, "the same, dropped because the destination fails closed")                    \
	X(cap_flows, "new connection reset: the pod has max_flows open")                           \
	X(cap_rate, "new connection dropped: the pod exceeds its rate")                            \
	X(midflow_reset, "segment answered by RST because of `nodectl flows reset`")               \
	X(upstream_return, "segment for an upstream socket that uses a pod's address")             \
	X(err_parse, "TCP header cut or malformed, passed")                                        \
	X(err_config, "no configuration: the daemon never came up, passed")
#define NP_STATS_CAUSES(X)                                                                         \
	X(no_listener, "cause: no listening socket in the pod's slot")                             \
	X(stale_hb, "cause: no sign of life from the daemon")                                      \
	X(overload, "cause: the daemon sheds load or is leaving")                                  \
	X(table_full, "cause: np_flows has no room")                                               \
	X(err_count, "a counter update was given up after contention")
#define NP_STATS_POD_OUT_EXITS(X)                                                                  \
	X(out_upstream, "segment from outside for an upstream socket that uses a pod's address")   \
	X(out_next, "segment for a pod, left alone")                                               \
	X(out_err, "the same as out_upstream, the frame could not be written, dropped")
#define NP_STATS_RET_IN_EXITS(X)                                                                   \
	X(ret_pod, "segments handed to a pod")                                                     \
	X(ret_neigh, "same, the pod's MAC being unknown")                                          \
	X(ret_next, "left to the host: not for a pod of this node")                                \
	X(ret_err, "return leg failed to write the frame, dropped")
#define NP_STATS_PICK_EXITS(X)                                                                     \
	X(pick_ok, "connections given to a listener")                                              \
	X(pick_no_flow, "reset: np_pod_in admitted no such flow")                                  \
	X(pick_no_listener, "reset: no listening socket in the pod's slot")                        \
	X(pick_stale_hb, "reset: no sign of life from the daemon")                                 \
	X(pick_upstream, "no upstream socket at a port of the band: asked, nothing reset")         \
	X(pick_other, "not TCP, not ours")                                                         \
	X(pick_err, "reset: the kernel refused the listener")
#define NP_STATS(X)                                                                                \
	NP_STATS_POD_IN_EXITS(X)                                                                   \
	NP_STATS_CAUSES(X)                                                                         \
	NP_STATS_POD_OUT_EXITS(X)                                                                  \
	NP_STATS_RET_IN_EXITS(X)                                                                   \
	NP_STATS_PICK_EXITS(X)

#define NP_STATS_FIELD(name, help) __u64 name;
struct np_stats {
	NP_STATS(NP_STATS_FIELD)
};
#undef NP_STATS_FIELD

/* np_guard_lpm, LPM_TRIE: prefix (96 + n bits for IPv4) -> what becomes of its packets. Read-only
 * for programs. Writer: worker. */
enum np_guard_action {
	NP_GUARD_DENY = 1,
};
struct np_guard_net {
	__u32 prefixlen;
	__u8 ip[16];
};
struct np_guard_rule {
	__u32 action; /* enum np_guard_action */
};
NP_ABI_ASSERT(sizeof(struct np_guard_net) == 20);
NP_ABI_ASSERT(sizeof(struct np_guard_rule) == 4);

/*
 * np_guard_dst, HASH: destination of new connections -> its bucket. The address 0.0.0.0 or ::
 * stands for every address of this node. The bucket is one instant, up to which connections are
 * paid for: each one let in moves it by interval_ns, by compare-and-swap. Made and removed by the
 * worker, which keeps the counters when it changes a limit; programs write tat_ns and counters.
 */
struct np_guard_key {
	__u8 ip[16];
	__u16 port;
	__u8 pad[2];
};
#define NP_GUARD_SHED 0x01 /* np_guard_dst.flags: nothing new while the daemon is overloaded */
struct np_guard_dst {
	__u64 tat_ns;	   /* CLOCK_MONOTONIC */
	__u64 interval_ns; /* 1 s / rate; 0: no limit */
	__u64 slack_ns;	   /* how far tat_ns may be ahead of now: (burst - 1) * interval_ns */
	__u64 passed;
	__u64 limited;
	__u64 shed;
	__u32 rate; /* as asked for, to be read */
	__u32 burst;
	__u32 flags; /* NP_GUARD_* */
	__u8 pad[4];
};
#define NP_GUARD_RATE_MAX  1000000
#define NP_GUARD_BURST_MAX 1000000
NP_ABI_ASSERT(sizeof(struct np_guard_key) == 20);
NP_ABI_ASSERT(NP_ABI_OFFSET(struct np_guard_key, port) == 16);
NP_ABI_ASSERT(sizeof(struct np_guard_dst) == 64);
NP_ABI_ASSERT(NP_ABI_OFFSET(struct np_guard_dst, rate) == 48);

/* np_guard_st, PERCPU_ARRAY 1: as np_stats, one exit for each packet that np_guard or np_guard_tc
 * sees. */
#define NP_GUARD_EXITS(X)                                                                          \
	X(pass_not_ip, "not IP: ARP and others")                                                   \
	X(pass_proto, "IP, not TCP")                                                               \
	X(pass_fragment, "later fragment: its first one was judged")                               \
	X(pass_segment, "TCP segment that opens no connection")                                    \
	X(pass_unguarded, "new connection to a destination without a limit")                       \
	X(pass_syn, "new connection within the limit of its destination")                          \
	X(pass_bad, "header cut or malformed, left to the host")                                   \
	X(drop_denied, "source on the deny list")                                                  \
	X(drop_limited, "new connection above the limit of its destination")                       \
	X(drop_overload, "new connection while the daemon sheds load")                             \
	X(drop_chain, "more IPv6 extension headers than anything sends")
#define NP_GUARD_CAUSES(X)                                                                         \
	X(stale_overload, "cause: overload is set, but nobody has been alive to mean it")          \
	X(contended, "cause: limited, because other CPUs took the tokens in between")
#define NP_GUARD_STATS(X)                                                                          \
	NP_GUARD_EXITS(X)                                                                          \
	NP_GUARD_CAUSES(X)

#define NP_GUARD_FIELD(name, help) __u64 name;
struct np_guard_st {
	NP_GUARD_STATS(NP_GUARD_FIELD)
};
#undef NP_GUARD_FIELD
NP_ABI_ASSERT(sizeof(struct np_guard_st) == 13 * 8);

/* np_events, RINGBUF, written only while NP_LIVE_EVENTS is set. */
enum np_event_kind {
	NP_EVENT_OPEN = 1, /* of a flow: `key` is its key */
	NP_EVENT_CLOSE = 2,
	/* Of an endpoint of svc_id: key.daddr and key.dport name it, the rest of key is 0. */
	NP_EVENT_EJECTED = 3,
	NP_EVENT_RETURNED = 4, /* its time is over, or `nodectl uneject` */
	NP_EVENT_UNHEALTHY = 5,
	NP_EVENT_HEALTHY = 6,
};
#define NP_EVENT_ENDPOINT_FIRST NP_EVENT_EJECTED
#define NP_EVENT_LAST		NP_EVENT_HEALTHY
struct np_event {
	__u64 at_ns; /* CLOCK_MONOTONIC */
	__u32 kind;  /* enum np_event_kind */
	__u32 pod_id;
	__u32 svc_id;
	__u32 count; /* NP_EVENT_EJECTED: which ejection of this endpoint it is; else 0 */
	struct np_flow_key key;
};
NP_ABI_ASSERT(sizeof(struct np_event) == 64);

/* np_note (syscall program): puts one event of an endpoint into np_events. User space cannot write
 * that ring by itself. */
struct np_note_args {
	struct np_event event; /* in; at_ns is filled in */
	__u64 is_written;      /* out: 0 when nobody reads or the ring is full */
};
NP_ABI_ASSERT(sizeof(struct np_note_args) == 72);

/* np_sweep (syscall program): argument and answer of one pass over np_flows. */
struct np_sweep_args {
	__u64 closed_ttl_ns; /* in: a closed record is kept this long */
	__u64 syn_ttl_ns;    /* in: a SYN that was never answered */
	__u64 idle_ttl_ns;   /* in: FIN state */
	__u64 live;	     /* out: records left, not closed */
	__u64 closed;	     /* out: records left, closed */
	__u64 removed;	     /* out */
};
NP_ABI_ASSERT(sizeof(struct np_sweep_args) == 48);

/* Defaults of the caps per pod (capture.md R45): generous, they stop floods, not work. */
#define NP_POD_MAX_FLOWS 16384
#define NP_POD_SYN_RATE	 50000
#define NP_POD_SYN_BURST 50000

#endif /* NP_ABI_H */
