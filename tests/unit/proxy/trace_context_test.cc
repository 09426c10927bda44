// SPDX-License-Identifier: Apache-2.0
// Trace headers: what is understood, what is taken for absent, what goes on to the endpoint.
#include "proxy/trace_context.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace np::proxy {
namespace {

constexpr char kTrace[] = "4bf92f3577b34da6a3ce929d0e0e4736";
constexpr uint64_t kHigh = 0x4bf92f3577b34da6, kLow = 0xa3ce929d0e0e4736;
constexpr uint64_t kSpan = 0x00f067aa0ba902b7;

IncomingTrace read(std::vector<Field> fields) {
  return read_trace(fields);
}

TEST(TraceContext, Traceparent) {
  const IncomingTrace trace =
      read({{"Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}});
  EXPECT_EQ(trace.trace_high, kHigh);
  EXPECT_EQ(trace.trace_low, kLow);
  EXPECT_EQ(trace.span, kSpan);
  EXPECT_EQ(trace.sampled, true);
  EXPECT_TRUE(trace.w3c);
  EXPECT_EQ(
      read({{"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}}).sampled,
      false);
  // A later version may say more.
  EXPECT_EQ(
      read({{"traceparent", "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what"}}).span,
      kSpan);
}

TEST(TraceContext, MalformedTraceparentIsAbsent) {
  for (const char* text : {
           "",
           "00",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
           "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
           "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
           "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
           "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
           "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
       }) {
    const IncomingTrace trace = read({{"traceparent", text}});
    EXPECT_EQ(trace.trace_low, 0U) << text;
    EXPECT_FALSE(trace.sampled) << text;
    EXPECT_FALSE(trace.w3c) << text;
  }
}

TEST(TraceContext, SeveralB3Headers) {
  IncomingTrace trace = read({{"X-B3-TraceId", kTrace},
                              {"X-B3-SpanId", "00f067aa0ba902b7"},
                              {"X-B3-ParentSpanId", "0000000000000001"},
                              {"X-B3-Sampled", "1"}});
  EXPECT_EQ(trace.trace_high, kHigh);
  EXPECT_EQ(trace.span, kSpan);
  EXPECT_EQ(trace.sampled, true);
  trace = read({{"x-b3-traceid", "a3ce929d0e0e4736"}, {"x-b3-spanid", "00f067aa0ba902b7"}});
  EXPECT_EQ(trace.trace_high, 0U);
  EXPECT_EQ(trace.trace_low, kLow);
  EXPECT_FALSE(trace.sampled.has_value()) << "the decision is left to us";
  EXPECT_EQ(read({{"x-b3-flags", "1"}}).sampled, true) << "debug";
  EXPECT_EQ(read({{"x-b3-sampled", "0"}}).sampled, false) << "a decision without a trace";
  EXPECT_EQ(read({{"x-b3-traceid", "a3ce"}}).trace_low, 0U);
}

TEST(TraceContext, OneB3Header) {
  IncomingTrace trace = read({{"b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-d"}});
  EXPECT_EQ(trace.trace_low, kLow);
  EXPECT_EQ(trace.span, kSpan);
  EXPECT_EQ(trace.sampled, true);
  EXPECT_TRUE(trace.debug);
  EXPECT_TRUE(trace.single_b3);
  trace = read({{"b3", "a3ce929d0e0e4736-00f067aa0ba902b7-0-0000000000000001"}});
  EXPECT_EQ(trace.span, kSpan);
  EXPECT_EQ(trace.sampled, false);
  trace = read({{"b3", "0"}});
  EXPECT_EQ(trace.sampled, false);
  EXPECT_EQ(trace.trace_low, 0U);
  for (const char* text : {"", "x", "a3ce-1-1", "a3ce929d0e0e4736-1", "-", "--"}) {
    EXPECT_EQ(read({{"b3", text}}).trace_low, 0U) << text;
  }
}

TEST(TraceContext, IdsGoOnOrAreDrawn) {
  Rng rng(3);
  TraceOptions options{.enabled = true, .per_million = 0, .send_b3 = true};
  IncomingTrace caller;
  caller.trace_high = kHigh;
  caller.trace_low = kLow;
  caller.span = kSpan;
  caller.sampled = true;
  TraceIds ids = make_trace(caller, options, false, rng);
  EXPECT_EQ(ids.trace_low, kLow);
  EXPECT_EQ(ids.parent_span, kSpan);
  EXPECT_TRUE(ids.sampled) << "the caller's decision stands";
  EXPECT_NE(ids.client_span, ids.server_span);
  ids = make_trace({}, options, false, rng);
  EXPECT_TRUE(ids.is_on());
  EXPECT_EQ(ids.parent_span, 0U);
  EXPECT_FALSE(ids.sampled);
  EXPECT_TRUE(make_trace({}, options, true, rng).sampled) << "forced";
}

TEST(TraceContext, SamplingKeepsItsShare) {
  Rng rng(11);
  const TraceOptions options{.enabled = true, .per_million = 250'000, .send_b3 = true};
  int sampled = 0;
  for (int i = 0; i < 40'000; ++i) sampled += make_trace({}, options, false, rng).sampled ? 1 : 0;
  EXPECT_NEAR(sampled, 10'000, 400);
}

std::map<std::string, std::string> written(const TraceIds& ids, const IncomingTrace& incoming,
                                           bool b3) {
  char text[kTraceTextBytes];
  std::array<Field, 5> fields;
  const size_t count = write_trace(ids, incoming, {.enabled = true, .send_b3 = b3}, text, fields);
  std::map<std::string, std::string> all;
  for (size_t i = 0; i < count; ++i) {
    EXPECT_TRUE(is_trace_field(fields[i].name));
    all[std::string(fields[i].name)] = std::string(fields[i].value);
  }
  return all;
}

TEST(TraceContext, WhatTheEndpointIsTold) {
  TraceIds ids;
  ids.trace_high = kHigh;
  ids.trace_low = kLow;
  ids.client_span = 0xabc;
  ids.server_span = kSpan;
  ids.sampled = true;
  using Headers = std::map<std::string, std::string>;
  const std::string traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  EXPECT_EQ(written(ids, {}, true), (Headers{{"traceparent", traceparent},
                                             {"x-b3-traceid", kTrace},
                                             {"x-b3-spanid", "00f067aa0ba902b7"},
                                             {"x-b3-parentspanid", "0000000000000abc"},
                                             {"x-b3-sampled", "1"}}));
  EXPECT_EQ(written(ids, {}, false), (Headers{{"traceparent", traceparent}}));
  IncomingTrace single;
  single.single_b3 = true;
  ids.sampled = false;
  EXPECT_EQ(written(ids, single, true)["b3"], std::string(kTrace) + "-00f067aa0ba902b7-0");
  ids.trace_high = 0;
  EXPECT_EQ(written(ids, {}, true)["x-b3-traceid"], "a3ce929d0e0e4736") << "64 bits stay 64";
  EXPECT_EQ(written(ids, {}, true)["traceparent"],
            "00-0000000000000000a3ce929d0e0e4736-00f067aa0ba902b7-00");
}

// In whatever form it comes, debug samples and goes on in that form, without a second decision.
TEST(TraceContext, DebugGoesOn) {
  constexpr char kSampled[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  constexpr char kUnsampled[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
  const std::vector<std::vector<Field>> callers = {
      {{"x-b3-flags", "1"}},
      {{"x-b3-traceid", kTrace}, {"x-b3-spanid", "00f067aa0ba902b7"}, {"X-B3-Flags", "1"}},
      {{"x-b3-flags", "1"}, {"x-b3-sampled", "0"}},
      {{"b3", "d"}},
      {{"b3", "a3ce929d0e0e4736-00f067aa0ba902b7-d-0000000000000001"}},
      {{"traceparent", kSampled}, {"x-b3-flags", "1"}},
      {{"traceparent", kUnsampled}, {"b3", "a3ce929d0e0e4736-00f067aa0ba902b7-d"}},
  };
  const TraceOptions nothing_sampled{.enabled = true, .per_million = 0, .send_b3 = true};
  Rng rng(3);
  for (const std::vector<Field>& fields : callers) {
    const IncomingTrace incoming = read(fields);
    const TraceIds ids = make_trace(incoming, nothing_sampled, false, rng);
    EXPECT_TRUE(ids.sampled && ids.debug) << fields[0].value;
    auto headers = written(ids, incoming, true);
    EXPECT_TRUE(headers["traceparent"].ends_with("-01")) << headers["traceparent"];
    if (incoming.single_b3) {
      EXPECT_TRUE(headers["b3"].ends_with("-d")) << headers["b3"];
    } else {
      EXPECT_EQ(headers["x-b3-flags"], "1");
      EXPECT_FALSE(headers.contains("x-b3-sampled"));
    }
  }
}

TEST(TraceContext, OnlyDebugIsDebug) {
  for (const std::vector<Field>& fields : std::vector<std::vector<Field>>{
           {{"x-b3-sampled", "1"}},
           {{"x-b3-flags", "0"}},
           {{"x-b3-flags", ""}},
           {{"x-b3-flags", "11"}},
           {{"b3", "1"}},
           {{"b3", "a3ce-1-d"}},
           {{"b3", "a3ce929d0e0e4736-00f067aa0ba902b7-1"}},
           {{"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}}}) {
    EXPECT_FALSE(read(fields).debug) << fields[0].value;
  }
}

// Hostile callers: whatever they send, what goes on is well-formed.
TEST(TraceContext, AnyBytesFromACaller) {
  Rng rng(20261126);
  const std::string alphabet = "0123456789abcdefABCDEF-gxd \t\xff";
  for (int round = 0; round < 50'000; ++round) {
    std::string values[6];
    for (std::string& value : values) {
      const uint32_t size = rng.below(70);
      for (uint32_t i = 0; i < size; ++i) {
        value += alphabet[rng.below(static_cast<uint32_t>(alphabet.size()))];
      }
    }
    const IncomingTrace incoming = read({{"traceparent", values[0]},
                                         {"b3", values[1]},
                                         {"x-b3-traceid", values[2]},
                                         {"x-b3-spanid", values[3]},
                                         {"x-b3-sampled", values[4]},
                                         {"x-b3-flags", values[5]}});
    const TraceIds ids = make_trace(incoming, {.enabled = true}, false, rng);
    EXPECT_TRUE(ids.is_on());
    EXPECT_TRUE(read({{"traceparent", written(ids, incoming, true)["traceparent"]}}).w3c);
  }
}

}  // namespace
}  // namespace np::proxy
