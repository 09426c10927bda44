// SPDX-License-Identifier: Apache-2.0
// Which workload a pod belongs to.
#include "policy/workload.h"

#include <gtest/gtest.h>

namespace np::policy {
namespace {

TEST(Workload, CanonicalNamesGoBeforeOthers) {
  const Workload workload = workload_of({{"app", "old"},
                                         {"app.kubernetes.io/name", "newer"},
                                         {"service.istio.io/canonical-name", "reviews"},
                                         {"version", "v1"},
                                         {"service.istio.io/canonical-revision", "v3"}},
                                        "reviews-v3-1");
  EXPECT_EQ(workload.app, "reviews");
  EXPECT_EQ(workload.name, "reviews");
  EXPECT_EQ(workload.version, "v3");
}

TEST(Workload, AnEmptyLabelSaysNothing) {
  EXPECT_EQ(workload_of({{"app", ""}, {"k8s-app", "dns"}}, "x").app, "dns");
}

TEST(Workload, WithoutNamesItIsTheOwner) {
  EXPECT_EQ(workload_of({{"pod-template-hash", "5d4f8c7b9"}}, "web-app-5d4f8c7b9-x2x7k").name,
            "web-app");
  EXPECT_EQ(workload_of({{"controller-revision-hash", "68f5"}}, "node-agent-7xk2p").name,
            "node-agent");
  EXPECT_EQ(workload_of({{"controller-revision-hash", "db-68f5"},
                         {"statefulset.kubernetes.io/pod-name", "db-0"}},
                        "db-0")
                .name,
            "db");
  EXPECT_EQ(workload_of({{"job-name", "nightly"}}, "nightly-abcde").name, "nightly");
  EXPECT_EQ(workload_of({{"pod-template-hash", "5d4f8c7b9"}}, "web-5d4f8c7b9-x2x7k").app, "");
}

TEST(Workload, APodThatNobodyOwnsIsItsOwn) {
  EXPECT_EQ(workload_of({}, "debug-shell-1").name, "debug-shell-1");
  EXPECT_EQ(workload_of({{"pod-template-hash", "abc"}}, "renamed").name, "renamed");
  EXPECT_EQ(workload_of({{"controller-revision-hash", "a"}}, "nodash").name, "nodash");
}

}  // namespace
}  // namespace np::policy
