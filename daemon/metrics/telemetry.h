// SPDX-License-Identifier: Apache-2.0
// Telemetry: everything that is told about requests after they ended. Owns one recorder and one
// ring per shard, the telemetry thread that turns records into log lines and spans, the book of
// recent traces and the exporters. Made by main before the shards, which call the recorders; the
// accessors may be used from any thread.
//
//   create()  before the sandbox: opens the log;   start()  in it;   the destructor writes the rest
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "metrics/exporter.h"
#include "metrics/kept_share.h"
#include "metrics/log_file.h"
#include "metrics/log_format.h"
#include "metrics/record_ring.h"
#include "metrics/series_store.h"
#include "metrics/shard_recorder.h"
#include "metrics/trace_book.h"

namespace np::metrics {

struct TelemetryOptions {
  RecordRules rules;  // `log` and `trace` are set by what follows
  TraceOptions tracing;
  std::string access_log = "off";  // "off", "stdout" or a path
  std::string log_format = "default";
  std::vector<ExporterOptions> collectors;
  std::string node;  // tag node_id
  uint64_t seed = 0;
};

class Telemetry {
 public:
  // `memory`: of each shard. They outlive this.
  static Result<std::unique_ptr<Telemetry>> create(TelemetryOptions options,
                                                   const std::vector<ShardSeries*>& memory);
  ~Telemetry();

  // By shard; they live as long as this.
  std::vector<RequestObserver*> observers() const;
  const TraceOptions& tracing() const { return options_.tracing; }
  void start();

  const std::vector<ShardSeries*>& series() const { return memory_; }
  const TraceBook& traces() const { return book_; }
  // Of this daemon, over all its workers.
  ToldCounters counts() const;

 private:
  Telemetry(TelemetryOptions options, const std::vector<ShardSeries*>& memory, LogFormat format,
            std::unique_ptr<LogFile> log);
  void run();
  // Records taken.
  size_t drain();
  void take(std::string_view bytes);
  bool is_traced(const Record& record);
  void hand_on();
  void offer(const SpanBatch& batch);
  // What a worker before that was killed had not told is lost.
  void settle_before();
  // So that all that was due is told or lost.
  void finish();
  // In the memory that outlives a worker.
  void count_due(uint64_t ToldCounters::*due, uint64_t by);
  ToldCounters own_counts() const;

  TelemetryOptions options_;
  const std::vector<ShardSeries*> memory_;
  const LogFormat format_;
  const std::unique_ptr<LogFile> log_;  // null: off
  std::vector<std::unique_ptr<RecordRing>> rings_;
  std::vector<std::unique_ptr<ShardRecorder>> recorders_;
  TraceBook book_;
  std::vector<std::unique_ptr<Exporter>> exporters_;

  ToldCounters before_{};  // of the workers before

  // Telemetry thread.
  Duration unix_offset_{};
  std::vector<Span> spans_;
  KeptShare share_;
  std::string line_;
  std::atomic<uint64_t> records_{0}, spans_made_{0}, traces_left_out_{0};
  std::atomic<uint64_t> records_unheard_{0};

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace np::metrics
