// SPDX-License-Identifier: Apache-2.0
// The probes, asked by a real client.
#include "admin/admin_server.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <string>

namespace np::admin {
namespace {

class FixedHealth : public HealthSource {
 public:
  std::string liveness_problem() override { return live; }
  std::string readiness_problem() override { return ready; }
  std::string live, ready;
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
  FixedHealth health;
  auto server = AdminServer::start("127.0.0.1:25901", health);
  ASSERT_TRUE(server) << server.error().to_string();
  EXPECT_EQ(ask("http://127.0.0.1:25901/livez"), "ok\n 200");
  EXPECT_EQ(ask("http://127.0.0.1:25901/readyz"), "ok\n 200");
  health.live = "no file descriptors left";
  EXPECT_EQ(ask("http://127.0.0.1:25901/livez"), "no file descriptors left\n 503");
  EXPECT_EQ(ask("http://127.0.0.1:25901/readyz"), "ok\n 200");
}

TEST(AdminServer, IsReadOnlyAndServesNothingElse) {
  FixedHealth health;
  auto server = AdminServer::start("127.0.0.1:25902", health);
  ASSERT_TRUE(server) << server.error().to_string();
  EXPECT_EQ(ask("-X POST -d x http://127.0.0.1:25902/livez"), "GET only\n 405");
  EXPECT_EQ(ask("--path-as-is http://127.0.0.1:25902/../../etc/passwd").find("root:"),
            std::string::npos);
  EXPECT_EQ(ask("-o /dev/null http://127.0.0.1:25902/nothing"), " 404");
}

TEST(AdminServer, SaysWhichAddressCannotBeUsed) {
  FixedHealth health;
  auto first = AdminServer::start("127.0.0.1:25903", health);
  ASSERT_TRUE(first);
  auto second = AdminServer::start("127.0.0.1:25903", health);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().to_string().find("127.0.0.1:25903"), std::string::npos);
  auto nonsense = AdminServer::start("nonsense", health);
  ASSERT_FALSE(nonsense);
  EXPECT_NE(nonsense.error().to_string().find("not an address"), std::string::npos);
}

}  // namespace
}  // namespace np::admin
