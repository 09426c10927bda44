// SPDX-License-Identifier: Apache-2.0
// What there was to tell is told or lost: also when a worker ends with collectors that hang, and
// when it is killed and its successor has nothing but the memory that the supervisor keeps.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "metrics/telemetry.h"
#include "tests/unit/metrics/reports.h"

namespace np::metrics {
namespace {

// Takes connections and posts into its queue, and never answers.
class MuteCollector {
 public:
  MuteCollector() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_storage name{};
    socklen_t size = SocketAddress::parse("127.0.0.1:0")->to_sockaddr(&name);
    NP_CHECK(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&name), size) == 0);
    NP_CHECK(::listen(listener_.get(), 16) == 0);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&name), &size);
    port_ = SocketAddress::from_sockaddr(reinterpret_cast<sockaddr*>(&name)).port;
  }
  ExporterOptions address() const {
    ExporterOptions options = *parse_collector(ExporterOptions::Protocol::kZipkin,
                                               "http://127.0.0.1:" + std::to_string(port_));
    options.batch_time = std::chrono::milliseconds(5);
    options.batch_spans = 10;
    options.answer_time = std::chrono::seconds(20);
    options.stop_time = std::chrono::milliseconds(100);
    return options;
  }

 private:
  Fd listener_;
  uint16_t port_ = 0;
};

class ToldCountsTest : public ::testing::Test {
 protected:
  ToldCountsTest() {
    void* memory = ::mmap(nullptr, kShards * sizeof(ShardSeries), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NP_CHECK(memory != MAP_FAILED);
    series = static_cast<ShardSeries*>(memory);
    log_path = ::testing::TempDir() + "nodeproxy-told-" + std::to_string(::getpid());
    options.access_log = log_path;
    options.tracing.enabled = true;
    options.collectors = {mute.address(), mute.address()};
  }
  ~ToldCountsTest() override {
    ::munmap(series, kShards * sizeof(ShardSeries));
    ::unlink(log_path.c_str());
  }

  std::unique_ptr<Telemetry> make() {
    auto made = Telemetry::create(options, {&series[0], &series[1]});
    NP_CHECK(made.has_value());
    return std::move(*made);
  }
  // So many sampled requests of each shard, two spans each.
  static void end_requests(const Telemetry& telemetry, uint64_t requests) {
    const Told told = answered_request();
    for (RequestObserver* shard : telemetry.observers()) {
      for (uint64_t i = 0; i < requests; ++i) shard->on_ended(told.report, told);
    }
  }
  // Runs `work` in a process that then is killed.
  template <typename Work>
  static void kill_after(Work&& work) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      work();
      ::raise(SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  }

  static constexpr size_t kShards = 2;
  MuteCollector mute;
  ShardSeries* series = nullptr;
  std::string log_path;
  TelemetryOptions options;
};

TEST_F(ToldCountsTest, TheEndCountsWhatCollectorsDidNotTake) {
  {
    const std::unique_ptr<Telemetry> telemetry = make();
    telemetry->start();
    end_requests(*telemetry, 50);
    ASSERT_TRUE(becomes_true([&] { return telemetry->counts().spans == 200; }));
  }
  const ToldCounters counts = make()->counts();
  EXPECT_EQ(counts.records, 100U);
  EXPECT_EQ(counts.log_lines, 100U);
  EXPECT_EQ(counts.spans_exported, 0U);
  EXPECT_EQ(counts.spans_lost, 400U) << "of two collectors";
}

TEST_F(ToldCountsTest, TheEndCountsWhatNobodyHeard) {
  end_requests(*make(), 50);  // never started
  const ToldCounters counts = make()->counts();
  EXPECT_EQ(counts.records, 0U);
  EXPECT_EQ(counts.records_lost, 100U);
}

// A reader of the log that reads nothing.
TEST_F(ToldCountsTest, TheEndCountsLinesThatWereHeldBack) {
  options.access_log = log_path + "-pipe";
  ASSERT_EQ(::mkfifo(options.access_log.c_str(), 0600), 0);
  constexpr uint64_t kRequests = 700;  // lines for more than a pipe holds
  {
    const std::unique_ptr<Telemetry> telemetry = make();
    telemetry->start();
    end_requests(*telemetry, kRequests);
    ASSERT_TRUE(becomes_true([&] { return telemetry->counts().records == 2 * kRequests; }));
  }
  ::unlink(options.access_log.c_str());
  options.access_log = "off";
  const ToldCounters counts = make()->counts();
  EXPECT_GT(counts.log_lines_lost, 0U);
  EXPECT_EQ(counts.log_lines + counts.log_lines_lost, 2 * kRequests);
}

TEST_F(ToldCountsTest, ASuccessorCountsWhatAKilledWorkerHadWaiting) {
  kill_after([this] {
    const std::unique_ptr<Telemetry> telemetry = make();
    telemetry->start();
    end_requests(*telemetry, 50);
    (void)becomes_true([&] { return telemetry->counts().log_lines == 100; });
    end_requests(*telemetry, 7);
  });
  ToldCounters counts = make()->counts();
  EXPECT_GE(counts.records, 100U);
  EXPECT_EQ(counts.records + counts.records_lost, 114U);
  EXPECT_GE(counts.log_lines + counts.log_lines_lost, counts.records);
  EXPECT_EQ(counts.spans_exported, 0U);
  EXPECT_GE(counts.spans_lost, 400U) << "all that were queued";

  // And again, of one that heard nothing.
  const uint64_t lost = counts.records_lost, lost_spans = counts.spans_lost;
  kill_after([this] { end_requests(*make(), 30); });
  counts = make()->counts();
  EXPECT_EQ(counts.records_lost, lost + 60);
  EXPECT_EQ(counts.spans_lost, lost_spans) << "no loss is counted twice";
}

}  // namespace
}  // namespace np::metrics
