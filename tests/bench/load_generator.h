// SPDX-License-Identifier: Apache-2.0
// LoadGenerator: one thread, epoll, HTTP/1.1. Open loop: requests are due at fixed instants and
// latency is counted from the instant a request was due, so that a stalled server cannot hide its
// queue (coordinated omission). Closed loop (rate 0): every connection sends as soon as it has its
// answer. What a warm-up asks is not counted; its errors are.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/fd.h"
#include "base/random.h"
#include "base/time.h"
#include "histogram.h"
#include "response_reader.h"

namespace np::bench {

struct LoadOptions {
  SocketAddress target;
  std::string host = "localhost";
  std::string method = "GET";
  std::string path = "/";
  std::vector<std::string> headers;  // "name: value"
  size_t body_bytes = 0;
  size_t connections = 1;
  double rate = 0;        // requests per second over all connections; 0: closed loop
  uint64_t requests = 0;  // stop after so many; 0: by duration
  Duration duration = std::chrono::seconds(10);
  Duration warm_up{};  // asked for so long before anything is counted
  Duration timeout = std::chrono::seconds(30);
  Duration spin{};                     // busy-wait this long before a due instant
  bool poisson = false;                // open loop: exponential gaps in place of equal ones
  uint64_t seed = 1;                   // of those gaps
  std::function<void()> on_measuring;  // the warm-up is over
  bool new_connection_each = false;
};

struct LoadReport {
  uint64_t sent = 0;
  std::map<int, uint64_t> by_status;
  uint64_t connect_errors = 0, reset_errors = 0, truncated_errors = 0, timeout_errors = 0;
  uint64_t unanswered_closes = 0;  // closed before any byte of the answer
  uint64_t connections_opened = 0;
  uint64_t body_bytes = 0;
  Histogram latency;
  Duration elapsed{};

  uint64_t completed() const { return latency.total(); }
  uint64_t errors() const {
    return connect_errors + reset_errors + truncated_errors + timeout_errors + unanswered_closes;
  }
  std::string to_json() const;
};

class LoadGenerator {
 public:
  explicit LoadGenerator(const LoadOptions& options);
  LoadReport run();

 private:
  struct Peer {
    Fd fd;
    ResponseReader reader;
    Instant due;            // of the request under way
    size_t sent_bytes = 0;  // of the request text
    bool connected = false;
    bool busy = false;
    bool was_reset = false;  // sending told so
    uint32_t index = 0;
  };
  bool open(Peer& peer);
  void open_all();
  void begin(Peer& peer, Instant due);
  void flush(Peer& peer);
  void on_event(Peer& peer, uint32_t events);
  void on_readable(Peer& peer);
  void finish(Peer& peer, bool keep);
  void fail(Peer& peer, uint64_t& counter);
  void release_due(Instant now);
  void release_by_schedule(Instant now);
  Duration next_gap();
  void note_measuring(Instant now);
  bool is_counted(Instant due) const { return due >= measuring_from_; }
  void expire(Instant now);
  bool exhausted(Instant now) const;
  Duration wait_time(Instant now) const;

  LoadOptions options_;
  LoadReport report_;
  std::string request_;
  Fd epoll_;
  std::vector<std::unique_ptr<Peer>> peers_;
  std::deque<uint32_t> idle_;
  std::deque<Instant> backlog_;  // due, but no connection is free
  Rng rng_;
  Instant measuring_from_;
  bool measuring_ = false;
  Instant next_due_;
  Instant last_expiry_check_;
  uint64_t issued_ = 0;
  size_t busy_ = 0;
};

}  // namespace np::bench
