// SPDX-License-Identifier: Apache-2.0
#include "metrics/exporter.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "base/address.h"
#include "metrics/http_post.h"
#include "metrics/span_codec.h"

namespace np::metrics {
namespace {

constexpr uint16_t kZipkinPort = 9411;
constexpr uint16_t kOtlpPort = 4318;
constexpr int kTooManyRequests = 429;
constexpr int kServerError = 500;

enum class Posted : uint8_t { kTaken, kRefused, kTryAgain };

Posted post(const ExporterOptions& options, const std::string& body) {
  const int status = post_json(options.host, options.port, options.path, body, options.answer_time);
  if (status / 100 == 2) return Posted::kTaken;
  const bool later = status == 0 || status == kTooManyRequests || status >= kServerError;
  return later ? Posted::kTryAgain : Posted::kRefused;
}

}  // namespace

struct Exporter::State {
  // Spans of a batch that wait: those from `first` up to `end`.
  struct Part {
    SpanBatch batch;
    size_t first, end;
  };
  explicit State(ExporterOptions given) : options(std::move(given)) {}
  const ExporterOptions options;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Part> queue;
  size_t queued = 0, in_post = 0;  // spans
  bool stopping = false, ended = true;
  bool finished = false;  // what was left is counted as lost
  std::chrono::steady_clock::time_point stop_by;

  std::atomic<uint64_t> sent{0}, lost{0}, retries{0};

  // Waits until a batch is full or old enough; empty: it is over.
  std::vector<KeptSpan> take();
  void send(const std::vector<KeptSpan>& spans);
  // False: the time to stop has come.
  bool pause(Duration time);
};

std::vector<KeptSpan> Exporter::State::take() {
  std::unique_lock lock(mutex);
  changed.wait(lock, [this] { return stopping || queued > 0; });
  changed.wait_for(lock, options.batch_time,
                   [this] { return stopping || queued >= options.batch_spans; });
  std::vector<KeptSpan> spans;
  while (!queue.empty() && spans.size() < options.batch_spans) {
    Part& part = queue.front();
    const size_t count = std::min(part.end - part.first, options.batch_spans - spans.size());
    for (const size_t end = part.first + count; part.first < end; ++part.first) {
      spans.emplace_back(part.batch, &(*part.batch)[part.first]);
    }
    if (part.first == part.end) queue.pop_front();
  }
  queued -= spans.size();
  in_post = spans.size();
  return spans;
}

bool Exporter::State::pause(Duration time) {
  std::unique_lock lock(mutex);
  return !changed.wait_for(lock, time, [this] { return stopping; });
}

void Exporter::State::send(const std::vector<KeptSpan>& spans) {
  const bool is_zipkin = options.protocol == ExporterOptions::Protocol::kZipkin;
  const std::string body = is_zipkin ? zipkin_body(spans) : otlp_body(spans);
  Duration wait = options.retry_time;
  Posted posted = post(options, body);
  for (uint32_t tries = 1; posted == Posted::kTryAgain && tries < options.tries; ++tries) {
    if (!pause(wait)) break;
    wait *= 2;
    ++retries;
    posted = post(options, body);
  }
  const std::lock_guard lock(mutex);
  if (finished) return;
  in_post = 0;
  (posted == Posted::kTaken ? sent : lost) += spans.size();
}

void Exporter::run(const std::shared_ptr<State>& state) {
  (void)::pthread_setname_np(::pthread_self(), "np-export");
  for (;;) {
    const std::vector<KeptSpan> spans = state->take();
    if (spans.empty()) break;
    state->send(spans);
  }
  const std::lock_guard lock(state->mutex);
  state->ended = true;
  state->changed.notify_all();
}

Exporter::Exporter(ExporterOptions options) : state_(std::make_shared<State>(std::move(options))) {}

void Exporter::stop() {
  const std::lock_guard lock(state_->mutex);
  if (state_->stopping) return;
  state_->stopping = true;
  state_->stop_by = std::chrono::steady_clock::now() + state_->options.stop_time;
  state_->changed.notify_all();
}

void Exporter::finish() {
  stop();
  std::unique_lock lock(state_->mutex);
  // A collector that does not answer must not keep a daemon from ending: the thread is then left
  // to end by itself.
  state_->changed.wait_until(lock, state_->stop_by, [this] { return state_->ended; });
  state_->finished = true;
  state_->lost += state_->queued + state_->in_post;
  state_->queued = state_->in_post = 0;
  state_->queue.clear();
}

Exporter::~Exporter() {
  finish();
}

void Exporter::start() {
  state_->ended = false;
  std::thread(&Exporter::run, state_).detach();
}

void Exporter::offer(SpanBatch batch) {
  const std::lock_guard lock(state_->mutex);
  const size_t size = batch->size();
  const size_t room = state_->options.queue_spans_max - state_->queued;
  const size_t taken = state_->finished ? 0 : std::min(size, room);
  state_->lost += size - taken;
  if (taken == 0) return;
  // A part that waits must not hold on to all the rest.
  if (taken < size) {
    batch = std::make_shared<std::vector<Span>>(
        batch->begin(), batch->begin() + static_cast<std::ptrdiff_t>(taken));
  }
  state_->queued += taken;
  state_->queue.push_back({std::move(batch), 0, taken});
  state_->changed.notify_all();
}

const ExporterOptions& Exporter::options() const {
  return state_->options;
}
uint64_t Exporter::sent() const {
  return state_->sent;
}
uint64_t Exporter::lost() const {
  return state_->lost;
}
uint64_t Exporter::retries() const {
  return state_->retries;
}

namespace {

bool is_name(const std::string& host) {
  return !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
  });
}

// "host", "host:80", "[fd00::1]:80" into the parts; false: it is none.
bool read_authority(const std::string& text, ExporterOptions& options) {
  const size_t bracket = text.starts_with('[') ? text.find(']') : 0;
  if (bracket == std::string::npos) return false;
  const size_t colon = text.find(':', bracket);
  options.host = text.substr(0, colon);
  if (bracket > 0) {
    if (options.host.size() != bracket + 1) return false;
    options.host = text.substr(1, bracket - 1);
    const auto ip = IpAddress::parse(options.host);
    if (!ip || options.host.find(':') == std::string::npos) return false;
  } else if (!is_name(options.host)) {
    return false;
  }
  if (colon == std::string::npos) return true;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data() + colon + 1, end, options.port);
  return read.ec == std::errc() && read.ptr == end && options.port != 0;
}

}  // namespace

Result<ExporterOptions> parse_collector(ExporterOptions::Protocol protocol,
                                        const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  const bool is_zipkin = protocol == ExporterOptions::Protocol::kZipkin;
  const Error wrong{ErrorCode::kInvalid, "collector " + url, "not an address that can be posted to",
                    is_zipkin ? "for example http://zipkin.istio-system:9411/api/v2/spans"
                              : "for example http://otel-collector.istio-system:4318/v1/traces"};
  if (!url.starts_with(kScheme)) return wrong;
  std::string rest = url.substr(kScheme.size());
  ExporterOptions options;
  options.protocol = protocol;
  options.path = is_zipkin ? "/api/v2/spans" : "/v1/traces";
  options.port = is_zipkin ? kZipkinPort : kOtlpPort;
  if (const size_t slash = rest.find('/'); slash != std::string::npos) {
    if (slash + 1 < rest.size()) options.path = rest.substr(slash);
    rest.resize(slash);
  }
  const auto is_bad = [](char c) { return c <= ' ' || c > '~' || c == '"' || c == '#'; };
  const bool has_bad = std::any_of(options.path.begin(), options.path.end(), is_bad);
  if (has_bad || !read_authority(rest, options)) return wrong;
  return options;
}

}  // namespace np::metrics
