// SPDX-License-Identifier: Apache-2.0
// nodectl flows, nodectl flows reset.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nodectl_fixture.h"

namespace np::control {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST_F(NodectlTest, FlowsAreListedTheOldestFirst) {
  EXPECT_EQ(nodectl({"flows"}).error, "No captured connections are open.\n");
  daemon_.open_connections = R"({"connections":[
      {"pod":"shop/b","client":"10.1.0.2:4001","dialled":"10.96.0.1:80","service":"web.shop",
       "state":"EST","start_ns":9,"age_ms":1500,"tx_bytes":2048,"rx_bytes":10,"requests":3,
       "failures":1,"retries":2,"route":"VirtualService shop/web, x"},
      {"pod":"front/a\u202e","client":"10.1.0.1:4000","dialled":"10.96.0.1:80",
       "service":"web.shop","state":"SYN","start_ns":5,"age_ms":61000}]})";
  const Ran all = nodectl({"flows"});
  EXPECT_EQ(all.exit_code, 0) << all.error;
  EXPECT_THAT(all.out, StartsWith("POD "));
  EXPECT_EQ(all.out.find("\u202e"), std::string::npos) << "nothing that turns the line around";
  EXPECT_LT(all.out.find("front/a"), all.out.find("shop/b"));
  EXPECT_THAT(all.out, ContainsRegex("shop/b +10.1.0.2:4001 +10.96.0.1:80 +web.shop "
                                     "+EST +1.50s +2.0K +10"));
  const Ran some = nodectl({"-n", "shop", "flows", "-o", "wide"});
  EXPECT_THAT(some.out, Not(HasSubstr("front/a")));
  EXPECT_THAT(some.out, ContainsRegex("3 +1 +2 +VirtualService shop/web, x\n"));
  EXPECT_THAT(nodectl({"flows", "-o", "json"}).out, HasSubstr("\"client\": \"10.1.0.2:4001\""));
}

TEST_F(NodectlTest, FlowsResetOpensAWindow) {
  const Ran ran = nodectl({"flows", "reset", "--for", "5s"});
  EXPECT_EQ(ran.exit_code, 0) << ran.error;
  EXPECT_THAT(ran.out, StartsWith("for 5s, connections that began before their policy"));
  EXPECT_EQ(daemon_.reset_window, std::chrono::seconds(5));
  EXPECT_EQ(nodectl({"flows", "reset"}).exit_code, 0);
  EXPECT_EQ(daemon_.reset_window, std::chrono::seconds(30));
}

}  // namespace
}  // namespace np::control
