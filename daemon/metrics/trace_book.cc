// SPDX-License-Identifier: Apache-2.0
#include "metrics/trace_book.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace np::metrics {
namespace {

using Spans = std::vector<const Span*>;

// The one that began it all, as far as this node saw it.
const Span& first_of(const Spans& spans) {
  return **std::min_element(spans.begin(), spans.end(), [](const Span* a, const Span* b) {
    return a->start_unix_us < b->start_unix_us;
  });
}

// The span under `caller` that began first.
const Span* called_by(const Spans& spans, const Span& caller) {
  for (const Span* span : spans) {
    if (span->parent == caller.id) return span;
  }
  return nullptr;
}

bool is_service(const std::string& service, std::string_view wanted) {
  return service == wanted || (service.starts_with(wanted) && service.size() > wanted.size() &&
                               service[wanted.size()] == '.');
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool contains(std::string_view text, std::string_view part) {
  const auto is_same = [](char a, char b) { return lower(a) == lower(b); };
  return std::search(text.begin(), text.end(), part.begin(), part.end(), is_same) != text.end();
}

bool has_text(const Span& span, const std::string& text) {
  if (contains(span.name, text) || contains(span.service, text)) return true;
  for (const auto& [key, value] : span.tags) {
    if (contains(value, text)) return true;
  }
  return false;
}

TraceSummary summary_of(const Spans& spans) {
  TraceSummary summary;
  const Span& first = first_of(spans);
  summary.high = first.trace_high;
  summary.low = first.trace_low;
  summary.name = first.name;
  summary.source = first.service;
  const Span* called = called_by(spans, first);
  summary.host = called != nullptr ? called->service : std::string(first.tags.find("http.url"));
  summary.start_unix_us = first.start_unix_us;
  summary.status = first.tags.find("http.status_code");
  summary.spans = spans.size();
  for (const Span* span : spans) {
    summary.is_error |= span->is_error;
    summary.duration_us = std::max(summary.duration_us,
                                   span->start_unix_us + span->duration_us - first.start_unix_us);
  }
  return summary;
}

bool is_wanted(const TraceQuery& query, const TraceSummary& summary, const Spans& spans) {
  if (summary.duration_us < query.min_duration_us) return false;
  if (query.errors_only && !summary.is_error) return false;
  const auto any = [&spans](auto&& condition) {
    return std::any_of(spans.begin(), spans.end(), condition);
  };
  if (!query.service.empty() &&
      !any([&query](const Span* span) { return is_service(span->service, query.service); })) {
    return false;
  }
  return query.text.empty() || contains(trace_id_text(summary.high, summary.low), query.text) ||
         any([&query](const Span* span) { return has_text(*span, query.text); });
}

// Spans of one trace lie together, those that were told first come first.
struct Place {
  uint64_t high, low;
  size_t order;
  const Span* span;
};

std::vector<Place> by_trace(const std::vector<SpanBatch>& batches) {
  std::vector<Place> places;
  for (const SpanBatch& batch : batches) {
    for (const Span& span : *batch) {
      places.push_back({span.trace_high, span.trace_low, places.size(), &span});
    }
  }
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return std::tie(a.high, a.low, a.order) < std::tie(b.high, b.low, b.order);
  });
  return places;
}

}  // namespace

void TraceBook::add(SpanBatch batch) {
  std::vector<SpanBatch> forgotten;  // freed when the lock is
  const std::lock_guard lock(mutex_);
  spans_ += batch->size();
  batches_.push_back(std::move(batch));
  while (spans_ > kSpansMax && batches_.size() > 1) {
    spans_ -= batches_.front()->size();
    forgotten.push_back(std::move(batches_.front()));
    batches_.pop_front();
  }
}

std::vector<SpanBatch> TraceBook::batches() const {
  const std::lock_guard lock(mutex_);
  return {batches_.begin(), batches_.end()};
}

std::vector<TraceSummary> TraceBook::find(const TraceQuery& query) const {
  const std::vector<SpanBatch> kept = batches();
  const std::vector<Place> places = by_trace(kept);
  std::vector<std::pair<size_t, Spans>> traces;  // by when the first span was told
  for (size_t i = 0; i < places.size(); ++i) {
    const Place& place = places[i];
    const bool is_new =
        i == 0 || place.high != places[i - 1].high || place.low != places[i - 1].low;
    if (is_new) traces.push_back({place.order, {}});
    traces.back().second.push_back(place.span);
  }
  std::sort(traces.begin(), traces.end(),
            [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<TraceSummary> found;
  for (const auto& [order, spans] : traces) {
    if (found.size() >= query.limit) break;
    TraceSummary summary = summary_of(spans);
    if (is_wanted(query, summary, spans)) found.push_back(std::move(summary));
  }
  return found;
}

std::vector<Span> TraceBook::get(uint64_t high, uint64_t low) const {
  std::vector<Span> spans;
  for (const SpanBatch& batch : batches()) {
    for (const Span& span : *batch) {
      const bool is_it = span.trace_low == low && (high == 0 || span.trace_high == high);
      if (is_it && spans.size() < kSpansPerTraceMax) spans.push_back(span);
    }
  }
  std::stable_sort(spans.begin(), spans.end(),
                   [](const Span& a, const Span& b) { return a.start_unix_us < b.start_unix_us; });
  return spans;
}

size_t TraceBook::spans() const {
  const std::lock_guard lock(mutex_);
  return spans_;
}

}  // namespace np::metrics
