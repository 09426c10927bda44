// SPDX-License-Identifier: Apache-2.0
// What a person types about policy, pods and the daemon, and what nodectl answers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>

#include "nodectl_fixture.h"

namespace np::control {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

// Ages change from run to run.
std::string without_ages(const std::string& text) {
  return std::regex_replace(text, std::regex("\\b[0-9]+s\\b"), "Ns");
}

// ---- changes ------------------------------------------------------------------------------------

TEST_F(NodectlTest, ApplyCreatesConfiguresAndLeavesAlone) {
  const std::string rule = write("rule.yaml", kRule);
  Ran ran = nodectl({"apply", "-f", rule});
  EXPECT_EQ(ran.exit_code, 0) << ran.error;
  EXPECT_EQ(ran.out, "routerule.config.istio.io/reviews-default created\n");
  EXPECT_EQ(nodectl({"apply", "-f", rule}).out,
            "routerule.config.istio.io/reviews-default unchanged\n");
  write("rule.yaml", replaced(kRule, "precedence: 1", "precedence: 2"));
  EXPECT_EQ(nodectl({"apply", "-f", rule}).out,
            "routerule.config.istio.io/reviews-default configured\n");
  EXPECT_EQ(nodectl({"delete", "-f", rule}).out,
            "routerule.config.istio.io/reviews-default deleted\n");
}

TEST_F(NodectlTest, ApplyTakesSeveralFilesDirectoriesAndStandardInput) {
  write("dir/a.yaml", kServices);
  write("dir/deeper/b.yaml", kRule);
  write("dir/notes.txt", "not yaml: [");
  const std::string dir = directory_.path() + "/dir";
  EXPECT_EQ(nodectl({"apply", "-f", dir}).out,
            "service/reviews created\nservice/ratings created\n");
  EXPECT_EQ(nodectl({"apply", "-R", "-f", dir}).out,
            "service/reviews unchanged\nservice/ratings unchanged\n"
            "routerule.config.istio.io/reviews-default created\n");
  const Ran both = nodectl({"apply", "-f", dir + "/a.yaml", "-f", "-"}, kLater);
  EXPECT_THAT(both.out, StartsWith("service/reviews unchanged\n"));
  EXPECT_THAT(both.out, HasSubstr("egressrule.config.istio.io/apis created"));
}

TEST_F(NodectlTest, AnObjectNotYetInEffectSaysSo) {
  const Ran ran = nodectl({"apply", "-f", "-"}, kLater);
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_THAT(ran.out, StartsWith("egressrule.config.istio.io/apis created: accepted, not yet in "
                                  "effect: "));
}

TEST_F(NodectlTest, OneErrorRefusesAllAndNamesThePlace) {
  const std::string good = write("good.yaml", kServices);
  const std::string bad = write("bad.yaml", std::string(kRule) + "  noSuchField: 1\n");
  const Ran ran = nodectl({"apply", "-f", good, "-f", bad});
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.out, IsEmpty());
  EXPECT_THAT(ran.error, StartsWith(bad + ":13: RouteRule default/reviews-default: "));
  EXPECT_THAT(ran.error, HasSubstr("noSuchField"));
  EXPECT_THAT(ran.error, HasSubstr("error: nothing was changed: 1 error\n"));
  EXPECT_EQ(nodectl({"get", "services"}).error, "No resources found in default namespace.\n");
}

TEST_F(NodectlTest, AFailingDataPathIsAFailedApply) {
  daemon_.failing = {"publish"};
  const Ran ran = nodectl({"apply", "-f", "-"}, kServices);
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.error, HasSubstr("error: nothing was changed: publish: it was told to fail"));
}

TEST_F(NodectlTest, CreateAndReplaceInsistOnWhatIsThere) {
  Ran ran = nodectl({"replace", "-f", "-"}, kRule);
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.error, HasSubstr("\"reviews-default\" in namespace \"default\" not found"));
  EXPECT_EQ(nodectl({"create", "-f", "-"}, kRule).exit_code, 0);
  ran = nodectl({"create", "-f", "-"}, kRule);
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.error, HasSubstr("already exists"));
  EXPECT_EQ(nodectl({"replace", "-f", "-"}, replaced(kRule, "v1\n", "v2\n")).out,
            "routerule.config.istio.io/reviews-default replaced\n");
}

TEST_F(NodectlTest, DeleteByName) {
  apply(kServices);
  EXPECT_EQ(nodectl({"delete", "svc", "reviews"}).out, "service/reviews deleted\n");
  EXPECT_EQ(nodectl({"delete", "service/ratings"}).out, "service/ratings deleted\n");
  const Ran missing = nodectl({"delete", "svc", "reviews"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_EQ(missing.error, "error: service \"reviews\" in namespace \"default\" not found\n");
  EXPECT_EQ(nodectl({"delete", "svc", "reviews", "--ignore-not-found"}).exit_code, 0);
}

TEST_F(NodectlTest, TheNamespaceOfTheCommandLineIsThatOfObjectsWithoutOne) {
  ASSERT_EQ(nodectl({"-n", "istio-system", "apply", "-f", "-"}, kRule).exit_code, 0);
  EXPECT_EQ(nodectl({"get", "rr"}).error, "No resources found in default namespace.\n");
  EXPECT_EQ(nodectl({"get", "rr", "reviews-default", "-n", "istio-system"}).exit_code, 0);
}

// ---- looking ------------------------------------------------------------------------------------

TEST_F(NodectlTest, GetAsATable) {
  apply(kServices);
  EXPECT_EQ(without_ages(nodectl({"get", "services"}).out),
            "NAME      AGE   STATUS\n"
            "reviews   Ns    in effect\n"
            "ratings   Ns    in effect\n");
  EXPECT_EQ(without_ages(nodectl({"get", "svc", "ratings", "-o", "wide"}).out),
            "NAME      AGE   STATUS      NAMESPACE   HOSTS                               OBJECT\n"
            "ratings   Ns    in effect   default     ratings.default.svc.cluster.local   "
            "service/ratings\n");
  EXPECT_EQ(without_ages(nodectl({"get", "svc", "-A"}).out),
            "NAMESPACE   NAME      AGE   STATUS\n"
            "default     reviews   Ns    in effect\n"
            "default     ratings   Ns    in effect\n");
}

TEST_F(NodectlTest, GetNamesWhatIsMissing) {
  const Ran ran = nodectl({"get", "rr", "nobody"});
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_EQ(ran.error, "error: routerule.config.istio.io \"nobody\" not found\n");
  EXPECT_EQ(nodectl({"get", "nosuchkind"}).exit_code, 1);
}

TEST_F(NodectlTest, YamlKeepsCommentsAndCanBeAppliedAgain) {
  ASSERT_EQ(nodectl({"-n", "prod", "apply", "-f", "-"}, kRule).exit_code, 0);
  const Ran yaml = nodectl({"-n", "prod", "get", "rr", "reviews-default", "-o", "yaml"});
  EXPECT_EQ(yaml.out, replaced(kRule, "  name: reviews-default\n",
                               "  namespace: prod\n  name: reviews-default\n"));
  EXPECT_EQ(nodectl({"validate", "-f", "-"}, yaml.out).exit_code, 0);
}

TEST_F(NodectlTest, JsonOfOneAndOfMany) {
  apply(kServices);
  const Ran one = nodectl({"get", "svc", "reviews", "-o", "json"});
  EXPECT_THAT(one.out, HasSubstr("\"clusterIP\": \"10.96.0.10\""));
  EXPECT_THAT(one.out, HasSubstr("\"namespace\": \"default\""));
  EXPECT_THAT(one.out, HasSubstr("\"port\": 9080"));
  const Ran many = nodectl({"get", "svc", "-o", "json"});
  EXPECT_THAT(many.out, HasSubstr("\"kind\": \"List\""));
  EXPECT_EQ(nodectl({"apply", "-f", "-"}, many.out).exit_code, 0);
}

TEST_F(NodectlTest, DescribeSaysEverything) {
  apply(kServices);
  const Ran ran = nodectl({"describe", "svc", "reviews"});
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_THAT(ran.out, StartsWith("Name:         reviews\nNamespace:    default\n"
                                  "API Version:  v1\nKind:         Service\nCreated:      20"));
  EXPECT_THAT(ran.out, HasSubstr("Generation:   1\nFrom:         <stdin>:1\n"
                                 "Hosts:        reviews.default.svc.cluster.local\n"
                                 "Status:       in effect\nWarnings:     <none>\nDefinition:\n"
                                 "  apiVersion: v1\n"));
}

TEST_F(NodectlTest, DiffShowsWhatApplyWouldChange) {
  apply(kRule);
  Ran ran = nodectl({"diff", "-f", "-"}, kRule);
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_THAT(ran.out, IsEmpty());
  ran = nodectl({"diff", "-f", "-"}, replaced(kRule, "precedence: 1", "precedence: 2"));
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_EQ(ran.out,
            "--- in-effect/default/routerule.config.istio.io/reviews-default\n"
            "+++ given/default/routerule.config.istio.io/reviews-default\n"
            "@@ -6,7 +6,7 @@\n"
            "   # everything goes to v1\n"
            "   destination:\n"
            "     name: reviews\n"
            "-  precedence: 1\n"
            "+  precedence: 2\n"
            "   route:\n"
            "   - labels:\n"
            "       version: v1\n");
  EXPECT_EQ(nodectl({"diff", "-f", "-"}, kServices).exit_code, 1);
  EXPECT_EQ(nodectl({"diff", "-f", "/nonexistent"}).exit_code, 2);
}

TEST_F(NodectlTest, PodsAndEndpoints) {
  apply(std::string(kServices) + "---\n" + kRule);
  Ran ran = nodectl({"pod", "add", "reviews-1", "--ip", "10.1.0.5", "--ifname", "veth1", "-l",
                     "app=reviews,version=v1"});
  EXPECT_EQ(ran.exit_code, 0) << ran.error;
  EXPECT_EQ(ran.out, "pod/reviews-1 added\n");
  ASSERT_EQ(nodectl({"pod", "add", "reviews-2", "--ip", "10.1.0.6,fd00::6", "--ifname", "veth2",
                     "-l", "app=reviews", "-l", "version=v2"})
                .exit_code,
            0);
  EXPECT_EQ(
      nodectl({"endpoints"}).out,
      "SERVICE   SUBSET   ADDRESS         POD                 WEIGHT   STATE          UNTIL    "
      "REASON\n"
      "ratings   <none>   <none>          <none>              0        no endpoints   <none>   "
      "<none>\n"
      "reviews   v1       10.1.0.5:9080   default/reviews-1   1        ready          <none>   "
      "<none>\n"
      "reviews   <none>   10.1.0.6:9080   default/reviews-2   1        ready          <none>   "
      "<none>\n");
  EXPECT_EQ(nodectl({"endpoints", "nobody"}).error, "error: service \"nobody\" not found\n");
  ran = nodectl({"pod", "list"});
  EXPECT_THAT(ran.out, StartsWith("NAMESPACE   NAME        IP                 IFNAME   CAPTURED"));
  EXPECT_THAT(ran.out, HasSubstr("10.1.0.6,fd00::6"));
  EXPECT_THAT(nodectl({"pod", "list", "-o", "wide"}).out, HasSubstr("2023-11-14T22:13:20Z"));
  EXPECT_EQ(nodectl({"pod", "remove", "reviews-1"}).out, "pod/reviews-1 removed\n");
  EXPECT_EQ(nodectl({"pod", "remove", "reviews-1"}).exit_code, 1);
}

TEST_F(NodectlTest, StatusForPeopleAndForPrograms) {
  const Ran ran = nodectl({"status"});
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_THAT(ran.out, StartsWith("Version:      9.8.7\nInstance:     test\nPID:          " +
                                  std::to_string(::getpid())));
  EXPECT_THAT(ran.out, HasSubstr("Probe:\n  tcx: found\n\nCOUNTER          VALUE\n"
                                 "captured_total   7\nrequests_total   42\n"));
  EXPECT_THAT(nodectl({"status", "-o", "json"}).out, HasSubstr("\"requests_total\": 42"));
  EXPECT_THAT(nodectl({"status", "-o", "yaml"}).out, HasSubstr("  requests_total: 42"));
}

TEST_F(NodectlTest, DrainAndDetachReachTheDaemon) {
  EXPECT_EQ(nodectl({"drain"}).exit_code, 0);
  EXPECT_TRUE(daemon_.drained);
  EXPECT_EQ(nodectl({"detach"}).exit_code, 2);
  EXPECT_EQ(nodectl({"detach", "--all"}).exit_code, 0);
}

// ---- without a daemon ---------------------------------------------------------------------------

TEST(NodectlAlone, AMissingDaemonIsNamedWithTheWayToStartIt) {
  const TemporaryDirectory directory;
  const Ran ran = run({NP_NODECTL, "--run-dir", directory.path(), "get", "svc"});
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_EQ(ran.error, "error: no daemon answers on " + directory.path() +
                           "/control.sock: No such file or directory (start it with: nodeproxyd "
                           "--run-dir " +
                           directory.path() + ")\n");
}

TEST(NodectlAlone, DetachWithoutADaemonTellsTheManualWay) {
  const TemporaryDirectory directory;
  const Ran ran = run({NP_NODECTL, "--run-dir", directory.path(), "detach", "--all"});
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.error, HasSubstr("rm -r /sys/fs/bpf/nodeproxy/v*/links"));
}

TEST(NodectlAlone, ValidateNeedsNoDaemon) {
  const Ran good =
      run({NP_NODECTL, "validate", "-f", "-"}, std::string(kServices) + "---\n" + kLater);
  EXPECT_EQ(good.exit_code, 0) << good.error;
  EXPECT_THAT(good.out, StartsWith("service/reviews valid\nservice/ratings valid\n"
                                   "egressrule.config.istio.io/apis valid: accepted, not yet in "
                                   "effect: "));
  const Ran bad = run({NP_NODECTL, "validate", "-f", "-"}, std::string(kRule) + "  extra: 1\n");
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_THAT(bad.error, StartsWith("<stdin>:13: RouteRule default/reviews-default: "));
  EXPECT_EQ(run({NP_NODECTL, "validate", "-f", "-"}, "\xff\xfe").exit_code, 1);
  EXPECT_EQ(run({NP_NODECTL, "validate", "-f", "-"}, "# nothing\n").exit_code, 1);
  EXPECT_EQ(run({NP_NODECTL, "validate", "-f", "/nonexistent"}).exit_code, 1);
}

TEST(NodectlAlone, WrongUsageExitsWithTwo) {
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"explain"},
      {"no-such-verb"},
      {"apply"},
      {"apply", "-f"},
      {"apply", "--no-such-flag", "-f", "x"},
      {"delete"},
      {"delete", "svc"},
      {"delete", "svc", "x", "-f", "y"},
      {"get"},
      {"get", "svc", "x", "-A"},
      {"get", "svc", "-o", "xml"},
      {"describe", "svc"},
      {"pod"},
      {"pod", "add", "x"},
      {"pod", "add", "x", "--ip", "10.0.0.1", "--ifname", "v", "-l", "novalue"},
      {"completion", "fish"},
      {"flows", "cut"},
      {"flows", "reset", "--for", "5"},
      {"flows", "reset", "--for", "2h"},
      {"flows", "--for", "5s"},
      {"status", "extra"},
  };
  for (const std::vector<std::string>& arguments : wrong) {
    std::vector<std::string> all = {NP_NODECTL};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const Ran ran = run(all);
    std::string typed;
    for (const std::string& argument : arguments) typed += " " + argument;
    EXPECT_EQ(ran.exit_code, 2) << "nodectl" << typed;
    EXPECT_THAT(ran.error, Not(IsEmpty())) << "nodectl" << typed;
  }
  EXPECT_THAT(run({NP_NODECTL, "flowers"}).error, HasSubstr("unknown command \"flowers\""));
}

TEST(NodectlAlone, HelpOffersOnlyWhatThisVersionDoes) {
  const Ran ran = run({NP_NODECTL, "--help"});
  EXPECT_EQ(ran.exit_code, 0);
  const std::regex verb("\n  ([a-z]+) ");
  size_t verbs = 0;
  for (std::sregex_iterator at(ran.out.begin(), ran.out.end(), verb), end; at != end; ++at) {
    ++verbs;
    const std::string name = (*at)[1];
    EXPECT_EQ(run({NP_NODECTL, name, "--help"}).exit_code, 0) << name;
  }
  EXPECT_GT(verbs, 15U);
}

TEST(NodectlAlone, CompletionScriptsAreScripts) {
  const TemporaryDirectory directory;
  const Ran bash = run({NP_NODECTL, "completion", "bash"});
  EXPECT_EQ(bash.exit_code, 0);
  const std::string file = directory.path() + "/nodectl.bash";
  std::ofstream(file) << bash.out;
  const Ran checked = run({"bash", "-n", file});
  EXPECT_EQ(checked.exit_code, 0) << checked.error;
  EXPECT_THAT(run({NP_NODECTL, "completion", "zsh"}).out, StartsWith("#compdef nodectl\n"));
  const auto complete = [&file](const std::string& line) {
    return run({"bash", "-c",
                "source " + file + "; COMP_WORDS=(" + line +
                    "); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _nodectl; echo \"${COMPREPLY[@]}\""})
        .out;
  };
  EXPECT_EQ(complete("nodectl va"), "validate\n");
  EXPECT_EQ(complete("nodectl get routeru"), "routerule\n");
  EXPECT_EQ(complete("nodectl -n x get virtual"), "virtualservice\n");
  EXPECT_EQ(complete("nodectl get svc -o j"), "json\n");
  EXPECT_EQ(complete("nodectl pod re"), "remove\n");
  EXPECT_EQ(complete("nodectl flows r"), "reset\n");
}

}  // namespace
}  // namespace np::control
