// SPDX-License-Identifier: Apache-2.0
// What the tests of this room share: a request as the engine reports it, memory for series as the
// supervisor gives it, and patience with other threads.
#pragma once

#include <sys/mman.h>

#include <chrono>
#include <span>
#include <string>
#include <thread>

#include "base/check.h"
#include "base/request_report.h"
#include "metrics/record_codec.h"
#include "metrics/series_store.h"

namespace np::metrics {

class Told final : public ReportSource {
 public:
  void describe(RequestTexts& out) const override {
    out = texts;
    ++described;
  }
  Record record() const { return {RecordUse{true, true}, report, texts}; }

  RequestReport report;
  RequestTexts texts;
  mutable int described = 0;
};

// With this offset it began at 2026-11-26T10:55:30.123Z.
inline constexpr Duration kUnixOffset{1'795'690'530'123'000'000 - 5'000'000'000};

inline SocketAddress address_of(const char* text) {
  return SocketAddress::parse(text).value();
}

// productpage asked reviews v2 and got 200 after 25 ms, 1 ms of them before it was sent.
inline Told answered_request() {
  using std::chrono::milliseconds;
  Told told;
  RequestReport& report = told.report;
  report.started = Instant(std::chrono::seconds(5));
  report.sent = report.started + milliseconds(1);
  report.answered = report.started + milliseconds(20);
  report.ended = report.started + milliseconds(25);
  report.request_bytes = 11;
  report.response_bytes = 22;
  report.workload_id = 1;
  report.route_id = 2;
  report.cluster_id = 3;
  report.endpoint_id = 4;
  report.status = 200;
  report.trace = {.trace_high = 0x4bf92f3577b34da6,
                  .trace_low = 0xa3ce929d0e0e4736,
                  .parent_span = 0x0af7651916cd43dd,
                  .client_span = 0x00f067aa0ba902b7,
                  .server_span = 0x0b7ad6b716920333,
                  .sampled = true};
  RequestTexts& texts = told.texts;
  texts.method = "GET";
  texts.authority = "reviews:9080";
  texts.path = "/reviews/7?x=1";
  texts.protocol = "HTTP/1.1";
  texts.user_agent = "curl/8";
  texts.request_id = "id-1";
  texts.forwarded_for = "10.0.0.9";
  texts.details = "via_upstream";
  texts.route = "reviews-v2";
  texts.object = "VirtualService default/reviews";
  texts.cluster = "outbound|9080|v2|reviews.default.svc.cluster.local";
  texts.legacy_cluster = "out.reviews.default.svc.cluster.local|http|version=v2";
  texts.host = "reviews.default.svc.cluster.local";
  texts.subset = "v2";
  texts.source_pod = "productpage-1";
  texts.source_namespace = "default";
  texts.source_workload = "productpage";
  texts.source_app = "productpage";
  texts.source_version = "v1";
  texts.source_service = "productpage.default.svc.cluster.local";
  texts.endpoint_pod = "default/reviews-v2-1";
  texts.endpoint_app = "reviews";
  texts.endpoint_version = "v2";
  texts.client = address_of("10.0.0.9:40000");
  texts.dialled = address_of("10.96.0.7:9080");
  texts.endpoint = address_of("10.1.0.1:9080");
  return told;
}

// A stranger's request through a gateway, for which no route was found.
inline Told refused_at_gateway() {
  Told told;
  RequestReport& report = told.report;
  report.started = Instant(std::chrono::seconds(5));
  report.ended = report.started + std::chrono::milliseconds(2);
  report.status = 404;
  report.reason = 4;
  report.outcome = RequestReport::Outcome::kRefused;
  report.gateway = true;
  report.trace = {.trace_high = 0,
                  .trace_low = 7,
                  .parent_span = 0,
                  .client_span = 8,
                  .server_span = 9,
                  .sampled = true};
  RequestTexts& texts = told.texts;
  texts.method = "GET";
  texts.authority = "shop.example";
  texts.path = "/";
  texts.protocol = "HTTP/1.1";
  texts.flags = "NR";
  texts.details = "route_not_found";
  texts.gateway = "istio-system/ingress";
  texts.client = address_of("192.0.2.1:50000");
  texts.dialled = address_of("10.0.0.1:80");
  return told;
}

// Zeroed, and no page of it is real before it is touched.
class SeriesMemory {
 public:
  SeriesMemory() {
    void* memory = ::mmap(nullptr, sizeof(ShardSeries), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NP_CHECK(memory != MAP_FAILED);
    series_ = static_cast<ShardSeries*>(memory);
  }
  ~SeriesMemory() { ::munmap(series_, sizeof(ShardSeries)); }
  SeriesMemory(const SeriesMemory&) = delete;
  SeriesMemory& operator=(const SeriesMemory&) = delete;
  ShardSeries& operator*() const { return *series_; }
  ShardSeries* operator->() const { return series_; }
  std::span<ClusterSlot> clusters() const { return series_->clusters; }
  std::span<RequestSlot> requests() const { return series_->requests; }

 private:
  ShardSeries* series_;
};

// False: it did not come true for a long time.
template <typename Condition>
bool becomes_true(Condition&& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace np::metrics
