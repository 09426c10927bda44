// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * np_note: run by the supervisor (BPF_PROG_RUN) for each change of an endpoint that the worker
 * reports. Only a program can write a ring buffer that programs write.
 */
#include "bpf/lib/flow.bpf.h"

SEC("syscall")
int np_note(struct np_note_args *args)
{
	struct np_live *live = np_live_here();
	struct np_event *event;

	args->is_written = 0;
	if (!live || !(live->flags & NP_LIVE_EVENTS))
		return 0;
	event = bpf_ringbuf_reserve(&np_events, sizeof(*event), 0);
	if (!event)
		return 0;
	__builtin_memcpy(event, &args->event, sizeof(*event));
	event->at_ns = bpf_ktime_get_ns();
	bpf_ringbuf_submit(event, 0);
	args->is_written = 1;
	return 0;
}
