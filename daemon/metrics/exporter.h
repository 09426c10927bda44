// SPDX-License-Identifier: Apache-2.0
// Exporter: sends spans to one collector over HTTP, in batches, from a thread of its own. Bounded:
// what a slow or dead collector does not take is lost and counted; nobody ever waits for it.
// Made by Telemetry; offer() and the counts from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "metrics/span.h"

namespace np::metrics {

struct ExporterOptions {
  enum class Protocol : uint8_t { kZipkin, kOtlp };
  Protocol protocol = Protocol::kZipkin;
  std::string host;  // a name or an address, without brackets
  uint16_t port = 0;
  std::string path;
  size_t queue_spans_max = 16384;
  size_t batch_spans = 512;                              // a body has at most so many
  Duration batch_time = std::chrono::seconds(1);         // or as many as came in this time
  Duration answer_time = std::chrono::seconds(5);        // for one post
  Duration retry_time = std::chrono::milliseconds(250);  // doubled with each retry
  uint32_t tries = 3;
  Duration stop_time = std::chrono::seconds(2);  // for what is left at the end
};

// "http://host[:port][/path]"; without a path that of the protocol. Fails on anything else.
Result<ExporterOptions> parse_collector(ExporterOptions::Protocol protocol, const std::string& url);

class Exporter {
 public:
  explicit Exporter(ExporterOptions options);
  ~Exporter();  // finish()
  Exporter(const Exporter&) = delete;
  Exporter& operator=(const Exporter&) = delete;

  void start();
  // As many as find room are taken, the rest is lost.
  void offer(SpanBatch batch);
  // What is left is sent in stop_time from now, or not at all. Does not wait, so that several can
  // be stopped in the time of one.
  void stop();
  // stop(), then waits for the end of it. What was not sent by then is lost, whatever becomes of
  // it: sent() and lost() are final.
  void finish();

  const ExporterOptions& options() const;
  uint64_t sent() const;     // spans that the collector took
  uint64_t lost() const;     // spans that it did not
  uint64_t retries() const;  // posts that were repeated

 private:
  struct State;  // shared with the thread, which may outlive this for a moment
  static void run(const std::shared_ptr<State>& state);
  std::shared_ptr<State> state_;
};

}  // namespace np::metrics
