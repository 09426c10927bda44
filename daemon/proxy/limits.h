// SPDX-License-Identifier: Apache-2.0
// EngineLimits: every buffer, queue and timeout of the engine, with its unit and its default.
// Sources: traffic-semantics 3.6 and 4.5, reliability 2.2 and 2.3. A plain value, copied by the
// Engine when it is made.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "base/time.h"
#include "http/h1_codec.h"
#include "policy/call_terms.h"

namespace np::proxy {

struct EngineLimits {
  // ---- memory -------------------------------------------------------------------------------
  // Bytes held for one direction of one connection before its source is paused; room at half.
  size_t buffer_bytes = 32 * 1024;
  // The same from MemoryStage::kRefuse on: what is under way goes on, and holds no more than this.
  size_t scarce_buffer_bytes = 8 * 1024;
  // Request body kept so that a try can be repeated or mirrored; longer bodies are sent once.
  size_t kept_body_bytes = 64 * 1024;
  // Rest of an unwanted answer that is read so that its connection can be used again.
  size_t discard_bytes = 64 * 1024;
  // Rest of an unwanted request that is read so that the answer is not lost to a reset.
  size_t linger_bytes = 256 * 1024;
  // Bytes looked at to tell HTTP from anything else on a port of unknown protocol.
  static constexpr size_t kSniffBytes = 24;

  // ---- time: 0 switches a limit off -----------------------------------------------------------
  Duration header_timeout = std::chrono::seconds(10);        // first byte to whole head: 408
  Duration body_stall_timeout = std::chrono::seconds(60);    // no request body byte: 408
  Duration stream_idle_timeout = std::chrono::seconds(300);  // no byte either way
  Duration connection_idle_timeout = std::chrono::hours(1);  // client connection, no request
  Duration tcp_idle_timeout = std::chrono::hours(1);         // opaque connection, no byte
  Duration flush_timeout = std::chrono::seconds(300);        // a peer that takes no byte
  Duration mirror_timeout = std::chrono::seconds(15);        // whole life of a mirrored request
  // A silent client on a port of unknown protocol is dialled after this; 0: it must speak first.
  Duration sniff_wait = std::chrono::milliseconds(50);

  // While requests are refused for want of memory: from then on those that hold most of it are
  // ended, too, a few at a time, so that who holds it cannot keep the others out.
  Duration refusing_max = std::chrono::seconds(10);

  // A kept connection that was not needed for so long is lent to another shard that needs one.
  Duration lend_idle_after = std::chrono::milliseconds(10);

  // ---- grace: 0 waits for nothing -------------------------------------------------------------
  Duration linger_timeout = std::chrono::seconds(1);   // FIN sent, the peer's is to come
  Duration discard_timeout = std::chrono::seconds(1);  // see discard_bytes
  // A FIN that comes sooner behind its request is no client that gave up.
  Duration half_close_grace = std::chrono::milliseconds(50);
  Duration drain_wait = std::chrono::seconds(1);  // first request, when a drain has begun

  // ---- retries (reliability 29) -------------------------------------------------------------
  uint32_t retry_budget_percent = 20;  // of requests in flight on this shard
  uint32_t retry_budget_minimum = 3;   // always allowed
  uint32_t retry_window_percent = 20;  // of a cluster's requests of the last 10 s on this shard
  uint32_t retry_window_minimum = 10;  // always allowed in 10 s
  uint32_t repeats_on_stale = 1;       // repeats because a kept connection was found closed
  uint32_t caller_retries_max = policy::kCallerRetriesMax;

  // ---- opaque TCP ---------------------------------------------------------------------------
  uint32_t tcp_connect_tries = 3;  // endpoints that are dialled for one connection

  // ---- mirrors ------------------------------------------------------------------------------
  size_t mirrors_max = 256;  // mirrored requests under way at once

  // ---- loops --------------------------------------------------------------------------------
  uint32_t loop_entries_max = 16;  // proxies of this kind that one request may pass

  http::H1Limits h1;
};

}  // namespace np::proxy
