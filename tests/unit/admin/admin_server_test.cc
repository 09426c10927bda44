// SPDX-License-Identifier: Apache-2.0
// The admin pages, asked by a real client.
#include "admin/admin_server.h"

#include <gtest/gtest.h>

#include <sys/resource.h>

#include <array>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "tests/unit/admin/fixed_health.h"

namespace np::admin {
namespace {

class FixedNode : public metrics::NodeSource {
 public:
  std::map<uint32_t, std::string> route_names() override { return {{7, "RouteRule default/slow"}}; }
  metrics::NodeTotals totals() override {
    ++asked;
    while (is_slow) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return {};
  }
  std::atomic<int> asked{0};
  std::atomic<bool> is_slow{false};
  std::vector<metrics::EndpointState> endpoints() override { return {}; }
  metrics::PolicyTotals policies() override {
    metrics::PolicyTotals totals;
    totals.policies = {{"RouteRule", "default", "<b>bold</b>\xff", "in effect", "", {}, {}}};
    return totals;
  }
};

// A server over one shard's memory.
struct Scene {
  FixedHealth health;
  FixedNode node;
  std::unique_ptr<metrics::ShardSeries> memory = std::make_unique<metrics::ShardSeries>();
  std::unique_ptr<metrics::Telemetry> telemetry =
      metrics::Telemetry::create({}, {memory.get()}).value();
  Result<std::unique_ptr<AdminServer>> start_closed(const AdminOptions& options) {
    return AdminServer::start(options, {health, node, *telemetry});
  }
  Result<std::unique_ptr<AdminServer>> start(const std::string& bind) {
    auto server = start_closed({bind, {"node-1.example"}});
    if (server) server.value()->open();
    return server;
  }
};

// What curl printed: body, a space, the status.
std::string ask(const std::string& arguments) {
  const std::string command = "curl -s -m 5 -w ' %{http_code}' " + arguments;
  FILE* pipe = ::popen(command.c_str(), "r");
  std::string output;
  std::array<char, 512> chunk{};
  while (size_t got = std::fread(chunk.data(), 1, chunk.size(), pipe))
    output.append(chunk.data(), got);
  ::pclose(pipe);
  return output;
}

TEST(AdminServer, AnswersProbesFromTheHealthSource) {
  Scene scene;
  FixedHealth& health = scene.health;
  auto server = scene.start("127.0.0.1:25901");
  ASSERT_TRUE(server) << server.error().to_string();
  EXPECT_EQ(ask("http://127.0.0.1:25901/livez"), "ok\n 200");
  EXPECT_EQ(ask("http://127.0.0.1:25901/readyz"), "ok\n 200");
  health.live = "no file descriptors left";
  EXPECT_EQ(ask("http://127.0.0.1:25901/livez"), "no file descriptors left\n 503");
  EXPECT_EQ(ask("http://127.0.0.1:25901/readyz"), "ok\n 200");
}

TEST(AdminServer, IsReadOnlyAndServesNothingElse) {
  Scene scene;
  auto server = scene.start("127.0.0.1:25902");
  ASSERT_TRUE(server) << server.error().to_string();
  EXPECT_EQ(ask("-X POST -d x http://127.0.0.1:25902/livez"), "GET only\n 405");
  EXPECT_EQ(ask("--path-as-is http://127.0.0.1:25902/../../etc/passwd").find("root:"),
            std::string::npos);
  EXPECT_EQ(ask("-o /dev/null http://127.0.0.1:25902/nothing"), " 404");
}

TEST(AdminServer, SaysWhichAddressCannotBeUsed) {
  Scene scene;
  auto first = scene.start("127.0.0.1:25903");
  ASSERT_TRUE(first);
  auto second = scene.start("127.0.0.1:25903");
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().to_string().find("127.0.0.1:25903"), std::string::npos);
  auto nonsense = scene.start("nonsense");
  ASSERT_FALSE(nonsense);
  EXPECT_NE(nonsense.error().to_string().find("not an address"), std::string::npos);
}

TEST(AdminServer, CarriesThePage) {
  Scene scene;
  auto server = scene.start("127.0.0.1:25904");
  ASSERT_TRUE(server) << server.error().to_string();
  EXPECT_NE(ask("http://127.0.0.1:25904/").find("<!doctype html>"), std::string::npos);
  const std::string script = ask("-i http://127.0.0.1:25904/main.js");
  EXPECT_NE(script.find("Content-Type: text/javascript"), std::string::npos);
  EXPECT_NE(script.find("default-src 'none'"), std::string::npos);
  EXPECT_NE(script.find("X-Content-Type-Options: nosniff"), std::string::npos);
}

TEST(AdminServer, TellsTheOverviewOnceAndThenWhatChanged) {
  Scene scene;
  auto server = scene.start("127.0.0.1:25905");
  ASSERT_TRUE(server) << server.error().to_string();
  // Revision 0 is what the fixed node has, and what a reader without any asks with.
  const std::string known = ask("http://127.0.0.1:25905/api/overview?revision=0");
  EXPECT_EQ(known.find("\"policies\""), std::string::npos);
  const std::string first = ask("http://127.0.0.1:25905/api/overview?revision=7");
  EXPECT_NE(first.find("<b>bold</b>\xef\xbf\xbd"), std::string::npos) << first;
  EXPECT_EQ(ask("http://127.0.0.1:25905/api/traces"), "[] 200");
  EXPECT_EQ(ask("-o /dev/null http://127.0.0.1:25905/api/traces/0123456789abcdef"), " 404");
  EXPECT_EQ(ask("-o /dev/null http://127.0.0.1:25905/api/traces/nonsense"), " 404");
}

// A page of somebody else's can make a name of its own mean 127.0.0.1.
TEST(AdminServer, AnswersOnlyBrowsersThatAskByAddress) {
  Scene scene;
  auto server = scene.start("127.0.0.1:25906");
  ASSERT_TRUE(server) << server.error().to_string();
  const std::string url = " -o /dev/null http://127.0.0.1:25906/api/overview";
  EXPECT_EQ(ask("-H 'Host: evil.example:25906'" + url), " 403");
  EXPECT_EQ(ask("-H 'Host: localhost:25906'" + url), " 200");
  EXPECT_EQ(ask("-H 'Host: [::1]:25906'" + url), " 200");
  const std::string metrics = " -o /dev/null http://127.0.0.1:25906/metrics";
  EXPECT_EQ(ask("-H 'Host: evil.example'" + metrics), " 403");
  EXPECT_EQ(ask("-H 'Host: localhost.evil.example'" + metrics), " 403");
  EXPECT_EQ(ask("-H 'Host: node-1.example:25906'" + metrics), " 200") << "by --admin-name";
  EXPECT_EQ(ask("-H 'Host: NODE-1.Example.'" + metrics), " 200");
  EXPECT_EQ(ask("-H 'Host: 10.0.0.1'" + metrics), " 200");
  EXPECT_EQ(ask("-0 -H 'Host:'" + metrics), " 200") << "no browser";
  EXPECT_EQ(ask("-H 'Host: evil.example' -o /dev/null http://127.0.0.1:25906/livez"), " 200");
}

// The server's: this process has no others that are nicer than the first.
size_t nice_threads() {
  size_t count = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    id_t id = 0;
    const std::string name = task.path().filename();
    std::from_chars(name.data(), name.data() + name.size(), id);
    if (::getpriority(PRIO_PROCESS, id) == 10) ++count;
  }
  return count;
}

TEST(AdminServer, ItsThreadsAreNiceAndWaitUntilItIsOpened) {
  Scene scene;
  auto server = scene.start_closed({"127.0.0.1:25907", {}});
  ASSERT_TRUE(server) << server.error().to_string();
  EXPECT_EQ(nice_threads(), 9U) << "before the sandbox is entered, which forbids it";
  std::string answer;
  std::thread client([&answer] { answer = ask("http://127.0.0.1:25907/livez"); });
  EXPECT_EQ(ask("-m 1 http://127.0.0.1:25907/metrics"), " 000") << "nobody accepts";
  EXPECT_EQ(scene.node.asked, 0);
  server.value()->open();
  client.join();
  EXPECT_EQ(answer, "ok\n 200") << "it waited in the queue";
}

TEST(AdminServer, OneQuestionAtATimeAndTheOthersComeAgain) {
  Scene scene;
  auto server = scene.start("127.0.0.1:25908");
  ASSERT_TRUE(server) << server.error().to_string();
  scene.node.is_slow = true;
  std::string first;
  std::thread client([&first] { first = ask("-o /dev/null http://127.0.0.1:25908/metrics"); });
  while (scene.node.asked == 0) std::this_thread::yield();
  const std::string second = ask("-i http://127.0.0.1:25908/api/traces");
  EXPECT_NE(second.find("\r\nRetry-After: 1\r\n"), std::string::npos) << second;
  EXPECT_TRUE(second.ends_with(" 503")) << second;
  EXPECT_EQ(ask("http://127.0.0.1:25908/livez"), "ok\n 200");
  std::string third;
  std::thread other([&third] { third = ask("-o /dev/null http://127.0.0.1:25908/metrics"); });
  scene.node.is_slow = false;
  client.join();
  other.join();
  EXPECT_EQ(first, " 200");
  EXPECT_EQ(third, " 200") << "two scrapers at once are both served";
}

}  // namespace
}  // namespace np::admin
