// SPDX-License-Identifier: Apache-2.0
#include "metrics/telemetry.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "metrics/record_codec.h"

namespace np::metrics {
namespace {

// A ring holds about 1 500 records: at 30 000 requests/s, all logged, it is full after 50 ms.
constexpr Duration kBusyPause = std::chrono::milliseconds(5);
constexpr Duration kIdlePause = std::chrono::milliseconds(40);
constexpr size_t kRecordsPerRound = 1024;  // of one ring, before the next one has its turn
// The book forgets whole batches, and each must be small beside what it keeps.
constexpr size_t kSpansPerBatch = 1000;
static_assert(TraceBook::kSpansMax >= 10 * kSpansPerBatch);

Duration unix_offset_now() {
  return Duration(static_cast<int64_t>(wall_clock_ns())) - monotonic_now().time_since_epoch();
}

// Single writer.
void count(std::atomic<uint64_t>& counter, uint64_t by = 1) {
  counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

void raise_to(uint64_t& word, uint64_t value) {
  std::atomic_ref<uint64_t> cell(word);
  uint64_t now = cell.load(std::memory_order_relaxed);
  while (now < value && !cell.compare_exchange_weak(now, value, std::memory_order_relaxed)) {
  }
}

}  // namespace

Result<std::unique_ptr<Telemetry>> Telemetry::create(TelemetryOptions options,
                                                     const std::vector<ShardSeries*>& memory) {
  NP_TRY_ASSIGN(LogFormat format, LogFormat::parse(options.log_format));
  std::unique_ptr<LogFile> log;
  if (options.access_log != "off") {
    NP_TRY_ASSIGN(log, LogFile::open(options.access_log));
  }
  options.rules.log = log != nullptr;
  options.rules.trace = options.tracing.enabled;
  return std::unique_ptr<Telemetry>(
      new Telemetry(std::move(options), memory, std::move(format), std::move(log)));
}

Telemetry::Telemetry(TelemetryOptions options, const std::vector<ShardSeries*>& memory,
                     LogFormat format, std::unique_ptr<LogFile> log)
    : options_(std::move(options)),
      memory_(memory),
      format_(std::move(format)),
      log_(std::move(log)) {
  if (!memory_.empty()) settle_before();
  for (ShardSeries* series : memory_) {
    rings_.push_back(std::make_unique<RecordRing>(&series->told.records_due));
    recorders_.push_back(std::make_unique<ShardRecorder>(
        *series, *memory_.front(), *rings_.back(), options_.rules, options_.seed + rings_.size()));
  }
  for (const ExporterOptions& collector : options_.collectors) {
    exporters_.push_back(std::make_unique<Exporter>(collector));
  }
}

Telemetry::~Telemetry() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  finish();
}

void Telemetry::settle_before() {
  before_ = memory_.front()->told;
  uint64_t records_due = 0;
  for (const ShardSeries* series : memory_) records_due += series->told.records_due;
  const auto settle = [](uint64_t due, uint64_t told, uint64_t& lost) {
    lost = std::max(lost, due - std::min(due, told));
  };
  settle(records_due, before_.records, before_.records_lost);
  settle(before_.log_lines_due, before_.log_lines, before_.log_lines_lost);
  settle(before_.spans_due, before_.spans_exported, before_.spans_lost);
}

void Telemetry::finish() {
  for (const auto& ring : rings_) {
    count(records_unheard_, ring->drain(SIZE_MAX, [](std::string_view) {}));
  }
  if (log_ != nullptr) log_->finish();
  for (const auto& exporter : exporters_) exporter->stop();
  for (const auto& exporter : exporters_) exporter->finish();
  (void)counts();
}

std::vector<RequestObserver*> Telemetry::observers() const {
  std::vector<RequestObserver*> all;
  for (const auto& recorder : recorders_) all.push_back(recorder.get());
  return all;
}

void Telemetry::start() {
  for (const auto& exporter : exporters_) exporter->start();
  thread_ = std::thread([this] { run(); });
}

void Telemetry::run() {
  (void)::pthread_setname_np(::pthread_self(), "np-telemetry");
  Duration pause = kIdlePause;
  for (bool is_last = false; !is_last;) {
    {
      std::unique_lock lock(mutex_);
      is_last = changed_.wait_for(lock, pause, [this] { return stopping_; });
    }
    unix_offset_ = unix_offset_now();
    const size_t taken = drain();
    pause = taken > 0 ? kBusyPause : kIdlePause;
    if (log_ != nullptr) log_->flush();
    (void)counts();
  }
}

size_t Telemetry::drain() {
  size_t taken = 0;
  for (size_t before = 1; before > 0;) {
    before = 0;
    for (const auto& ring : rings_) {
      before += ring->drain(kRecordsPerRound, [this](std::string_view bytes) { take(bytes); });
    }
    hand_on();
    taken += before;
  }
  return taken;
}

void Telemetry::take(std::string_view bytes) {
  const Record record = decode(bytes);
  count(records_);
  if (record.use.log) {
    line_.clear();
    format_.write(record, unix_offset_, line_);
    count_due(&ToldCounters::log_lines_due, 1);
    log_->append(line_);
  }
  if (!record.use.trace || !is_traced(record)) return;
  make_spans(record, unix_offset_, options_.node, spans_);
  if (spans_.size() >= kSpansPerBatch) hand_on();
}

bool Telemetry::is_traced(const Record& record) {
  const RequestReport& report = record.report;
  if (report.trace.sampled) return true;
  const uint32_t place = PodPlaces(memory_.front()->pod_owners).place_of(report.pod_id);
  if (share_.take(place, report.ended)) return true;
  count(traces_left_out_);
  return false;
}

void Telemetry::hand_on() {
  if (spans_.empty()) return;
  count(spans_made_, spans_.size());
  const size_t usual = spans_.size();
  const SpanBatch batch = batch_of(std::move(spans_));
  book_.add(batch);
  if (!exporters_.empty()) offer(batch);
  spans_.clear();
  spans_.reserve(usual);
}

// Collectors get what was sampled: usually all of it, or little.
void Telemetry::offer(const SpanBatch& batch) {
  const auto is_sampled = [](const Span& span) { return span.is_sampled; };
  SpanBatch sampled = batch;
  if (!std::all_of(batch->begin(), batch->end(), is_sampled)) {
    auto some = std::make_shared<std::vector<Span>>();
    std::copy_if(batch->begin(), batch->end(), std::back_inserter(*some), is_sampled);
    if (some->empty()) return;
    sampled = std::move(some);
  }
  count_due(&ToldCounters::spans_due, exporters_.size() * sampled->size());
  for (const auto& exporter : exporters_) exporter->offer(sampled);
}

void Telemetry::count_due(uint64_t ToldCounters::*due, uint64_t by) {
  if (!memory_.empty()) add(memory_.front()->told.*due, by);
}

ToldCounters Telemetry::own_counts() const {
  ToldCounters counts{};
  counts.records = records_.load(std::memory_order_relaxed);
  counts.spans = spans_made_.load(std::memory_order_relaxed);
  counts.traces_left_out = traces_left_out_.load(std::memory_order_relaxed);
  counts.records_lost = records_unheard_.load(std::memory_order_relaxed);
  for (const auto& ring : rings_) counts.records_lost += ring->lost();
  if (log_ != nullptr) {
    counts.log_lines = log_->written();
    counts.log_lines_lost = log_->lost();
  }
  for (const auto& exporter : exporters_) {
    counts.spans_exported += exporter->sent();
    counts.spans_lost += exporter->lost();
    counts.export_retries += exporter->retries();
  }
  return counts;
}

// What was said once is never taken back, also when this worker dies: it is written down before.
ToldCounters Telemetry::counts() const {
  ToldCounters counts = own_counts();
  if (memory_.empty()) return counts;
#define NP_X(name, help)       \
  counts.name += before_.name; \
  raise_to(memory_.front()->told.name, counts.name);
  NP_TOLD_COUNTERS(NP_X)
#undef NP_X
  return counts;
}

}  // namespace np::metrics
