// SPDX-License-Identifier: Apache-2.0
#include "metrics/trace_book.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "tests/unit/metrics/reports.h"

namespace np::metrics {
namespace {

Span span_of(uint64_t trace, uint64_t id = 1, int64_t start_us = 1000) {
  Span span;
  span.trace_high = 5;
  span.trace_low = trace;
  span.id = id;
  span.name = "route";
  span.service = "productpage.default";
  span.start_unix_us = start_us;
  span.duration_us = 10;
  return span;
}

void add(TraceBook& book, const Span& span) {
  book.add(batch_of({span}));
}

std::vector<uint64_t> found(const TraceBook& book, const TraceQuery& query) {
  std::vector<uint64_t> traces;
  for (const TraceSummary& summary : book.find(query)) traces.push_back(summary.low);
  return traces;
}

using Ids = std::vector<uint64_t>;

// A query in which one thing is asked.
template <typename Value>
TraceQuery with(Value TraceQuery::*member, Value value) {
  TraceQuery query;
  query.*member = std::move(value);
  return query;
}
constexpr auto kLimit = &TraceQuery::limit;
constexpr auto kDuration = &TraceQuery::min_duration_us;
constexpr auto kService = &TraceQuery::service;
constexpr auto kText = &TraceQuery::text;

TEST(TraceBook, SummaryOfARequest) {
  TraceBook book;
  std::vector<Span> spans;
  make_spans(answered_request().record(), kUnixOffset, "node-1", spans);
  book.add(batch_of(spans));
  const std::vector<TraceSummary> summaries = book.find({});
  ASSERT_EQ(summaries.size(), 1U);
  const TraceSummary& summary = summaries[0];
  EXPECT_EQ(summary.high, 0x4bf92f3577b34da6U);
  EXPECT_EQ(summary.low, 0xa3ce929d0e0e4736U);
  EXPECT_EQ(summary.name, "reviews-v2");
  EXPECT_EQ(summary.source, "productpage.default");
  EXPECT_EQ(summary.host, "reviews.default");
  EXPECT_EQ(summary.status, "200");
  EXPECT_EQ(summary.spans, 2U);
  EXPECT_EQ(summary.start_unix_us, 1'795'690'530'123'000);
  EXPECT_EQ(summary.duration_us, 25'000);
  EXPECT_FALSE(summary.is_error);
}

// An inner call ends, and is told, before the call that caused it.
TEST(TraceBook, TheFirstSpanIsTheOneThatBeganFirst) {
  TraceBook book;
  Span inner = span_of(1, 2, 2000);
  inner.name = "inner";
  inner.is_error = true;
  Span outer = span_of(1, 1, 1000);
  outer.name = "outer";
  outer.duration_us = 5000;
  add(book, inner);
  add(book, outer);
  const TraceSummary summary = book.find({}).at(0);
  EXPECT_EQ(summary.name, "outer");
  EXPECT_EQ(summary.duration_us, 5000);
  EXPECT_TRUE(summary.is_error) << "of any span";
  const std::vector<Span> spans = book.get(5, 1);
  ASSERT_EQ(spans.size(), 2U);
  EXPECT_EQ(spans[0].name, "outer");
}

TEST(TraceBook, ATraceThatAskedNobodyShowsWhereItWanted) {
  TraceBook book;
  std::vector<Span> spans;
  make_spans(refused_at_gateway().record(), kUnixOffset, "node-1", spans);
  book.add(batch_of(spans));
  EXPECT_EQ(book.find({}).at(0).host, "http://shop.example/");
  EXPECT_EQ(book.find({}).at(0).status, "404");
}

TEST(TraceBook, TheOldestSpansGoFirst) {
  TraceBook book;
  constexpr uint64_t kTraces = TraceBook::kSpansMax / 2;
  for (uint64_t trace = 1; trace <= kTraces; ++trace) {
    add(book, span_of(trace, 1));
    add(book, span_of(trace, 2));
  }
  EXPECT_EQ(book.spans(), TraceBook::kSpansMax);
  EXPECT_EQ(book.get(5, 1).size(), 2U);
  add(book, span_of(1, 3));
  EXPECT_EQ(book.spans(), TraceBook::kSpansMax);
  EXPECT_EQ(book.get(5, 1).size(), 2U) << "its first one made room";
  for (uint64_t trace = kTraces + 1; trace <= kTraces + 3; ++trace) add(book, span_of(trace));
  EXPECT_EQ(book.spans(), TraceBook::kSpansMax);
  EXPECT_TRUE(book.get(5, 2).empty());
  EXPECT_FALSE(book.get(5, 3).empty());
  EXPECT_EQ(found(book, with(kLimit, size_t{2})), (Ids{kTraces + 3, kTraces + 2}));
}

TEST(TraceBook, AnAnswerIsBounded) {
  TraceBook book;
  for (uint64_t id = 1; id <= TraceBook::kSpansPerTraceMax + 500; ++id) add(book, span_of(2, id));
  EXPECT_EQ(book.get(5, 2).size(), TraceBook::kSpansPerTraceMax);
}

TEST(TraceBook, ABatchLargerThanTheBookIsKeptUntilTheNextOne) {
  TraceBook book;
  book.add(batch_of(std::vector<Span>(TraceBook::kSpansMax + 1, span_of(1))));
  EXPECT_EQ(book.spans(), TraceBook::kSpansMax + 1);
  add(book, span_of(2));
  EXPECT_EQ(book.spans(), 1U);
}

TEST(TraceBook, Filters) {
  TraceBook book;
  Span slow = span_of(1);
  slow.duration_us = 2'000'000;
  Span failed = span_of(2);
  failed.is_error = true;
  Span tagged = span_of(3);
  tagged.tags.emplace_back("nodeproxy.subset", "canary");
  Span other = span_of(4);
  other.service = "reviews.shop";
  other.name = "to-canary";
  for (const Span& span : {slow, failed, tagged, other}) add(book, span);
  EXPECT_EQ(found(book, {}), (Ids{4, 3, 2, 1})) << "newest first";
  EXPECT_EQ(found(book, with(kLimit, size_t{2})), (Ids{4, 3}));
  EXPECT_EQ(found(book, with(kLimit, size_t{0})), Ids{});
  EXPECT_EQ(found(book, with(kDuration, int64_t{2'000'000})), Ids{1});
  EXPECT_EQ(found(book, with(kDuration, int64_t{2'000'001})), Ids{});
  EXPECT_EQ(found(book, with(&TraceQuery::errors_only, true)), Ids{2});
  EXPECT_EQ(found(book, with(kService, std::string("reviews"))), Ids{4});
  EXPECT_EQ(found(book, with(kService, std::string("reviews.shop"))), Ids{4});
  EXPECT_EQ(found(book, with(kService, std::string("review"))), Ids{});
  EXPECT_EQ(found(book, with(kService, std::string("reviews.default"))), Ids{});
  EXPECT_EQ(found(book, with(kText, std::string("canary"))), (Ids{4, 3}));
  EXPECT_EQ(found(book, with(kText, std::string("CANary"))), (Ids{4, 3}));
  EXPECT_EQ(found(book, with(kText, std::string("0000000000000003"))), Ids{3}) << "by its id";
  TraceQuery of_productpage = with(kText, std::string("canary"));
  of_productpage.limit = 1;
  of_productpage.service = "productpage";
  EXPECT_EQ(found(book, of_productpage), Ids{3}) << "the limit is one of what was found";
}

TEST(TraceBook, FindsByTheLowHalf) {
  TraceBook book;
  Span full = span_of(7);
  full.trace_high = 9;
  Span half = span_of(8);
  half.trace_high = 0;
  add(book, full);
  add(book, half);
  EXPECT_EQ(book.get(9, 7).size(), 1U);
  EXPECT_EQ(book.get(0, 7).size(), 1U);
  EXPECT_EQ(book.get(0, 8).size(), 1U);
  EXPECT_TRUE(book.get(9, 8).empty());
  EXPECT_TRUE(book.get(0, 9).empty());
}

// Clients choose trace ids: these would all meet in one place of a table hashed by both halves.
TEST(TraceBook, ChosenIdsDoNotMakeItSlow) {
  TraceBook book;
  const Instant begin = monotonic_now();
  for (int turn = 0; turn < 3; ++turn) {
    for (uint64_t trace = 1; trace <= TraceBook::kSpansMax; ++trace) {
      Span span = span_of(trace);
      span.trace_high = ~trace;
      add(book, span);
    }
  }
  EXPECT_EQ(book.spans(), TraceBook::kSpansMax);
  EXPECT_LT(monotonic_now() - begin, std::chrono::seconds(4)) << "a quarter of a second otherwise";
}

TEST(TraceBook, IsAskedWhileItIsFilled) {
  TraceBook book;
  std::thread writer([&] {
    for (uint64_t trace = 1; trace <= 5000; ++trace) add(book, span_of(trace % 50, trace));
  });
  for (int i = 0; i < 200; ++i) {
    EXPECT_LE(book.find(with(kLimit, size_t{5})).size(), 5U);
    (void)book.get(5, 7);
  }
  writer.join();
  EXPECT_EQ(book.spans(), 5000U);
}

}  // namespace
}  // namespace np::metrics
