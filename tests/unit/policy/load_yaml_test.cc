// SPDX-License-Identifier: Apache-2.0
// YAML streams: where documents begin, exact lines, what is refused before any field is read.
#include "policy/yaml_stream.h"
#include "policy/yaml_tree.h"
#include "tests/unit/policy/load_support.h"

namespace np::policy {
namespace {

const std::string kNamespaceA = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";
const std::string kNamespaceB = "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n";

TEST(PolicyLoadYaml, EmptyDocumentsAreSkippedAndLinesCountFromTheTopOfTheFile) {
  Loaded got = load("---\n# nothing\n---\n\n" + kNamespaceA + "---\n---\n" + kNamespaceB + "---\n");
  ASSERT_EQ(got.objects.size(), 2U) << got.text();
  EXPECT_EQ(got.objects[0].line, 4);
  EXPECT_EQ(got.objects[1].line, 10);
  EXPECT_EQ(got.objects[1].id.to_string(), "Namespace b");
}

TEST(PolicyLoadYaml, UniformIndentationIsTakenOffEvenFromTheMarkers) {
  Loaded got = load(
      "    apiVersion: v1\n    kind: Namespace\n    metadata:\n      name: a\n\n    ---\n"
      "    apiVersion: v1\n    kind: Namespace\n    metadata:\n      name: b\n");
  ASSERT_EQ(got.objects.size(), 2U) << got.text();
  EXPECT_TRUE(got.objects[0].text.starts_with("apiVersion: v1\nkind: Namespace\n"));
  EXPECT_EQ(got.objects[1].line, 7);
}

TEST(PolicyLoadYaml, WindowsAndOldMacLineEndsKeepTheLines) {
  for (std::string end : {"\r\n", "\r"}) {
    std::string text = "\xEF\xBB\xBF" + std::string("apiVersion: v1") + end + "kind: Service" +
                       end + "metadata: {name: a}" + end + "spec:" + end + "  ports: 7" + end;
    Loaded got = load(text);
    EXPECT_TRUE(got.says("f.yaml:5: Service default/a: spec.ports: ", "a list is required"))
        << got.text();
  }
}

TEST(PolicyLoadYaml, TextOfAnObjectKeepsItsComments) {
  Loaded got = load("# first\n" + kNamespaceA + "---\n" + kNamespaceB + "# last\n");
  ASSERT_EQ(got.objects.size(), 2U);
  EXPECT_EQ(got.objects[0].text, "# first\n" + kNamespaceA);
  EXPECT_EQ(got.objects[1].text, kNamespaceB + "# last\n");
}

TEST(PolicyLoadYaml, SyntaxErrorsNameTheLineInTheFile) {
  Loaded got = load(kNamespaceA + "---\napiVersion: v1\nkind: [Name\n---\n" + kNamespaceB);
  EXPECT_TRUE(got.objects.empty());
  EXPECT_TRUE(has_errors(got.diagnostics));
  ASSERT_EQ(got.diagnostics.size(), 1U) << got.text();
  EXPECT_GE(got.diagnostics[0].line, 6) << got.text();
  EXPECT_NE(got.text().find("not valid YAML"), std::string::npos);
}

TEST(PolicyLoadYaml, RepeatedKeysAreErrors) {
  Loaded got = load("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  name: b\n");
  EXPECT_TRUE(got.says("f.yaml:5: ", "key name is given twice")) << got.text();
}

TEST(PolicyLoadYaml, NotUtf8AndControlCharactersAreRefusedWithTheirLine) {
  EXPECT_TRUE(load("a: b\nc: \xff\n").says("f.yaml:2: ", "not UTF-8"));
  EXPECT_TRUE(load("a: b\nc: \xed\xa0\x80\n").says("f.yaml:2: ", "not UTF-8"));  // a surrogate
  EXPECT_TRUE(load(std::string("a: b\nc: \0\n", 9)).says("f.yaml:2: ", "control character"));
}

TEST(PolicyLoadYaml, DepthIsLimited) {
  std::string deep = std::string(3000, '[') + std::string(3000, ']');
  EXPECT_TRUE(load(deep).says("f.yaml:1: ", "nested deeper than 64 levels"));
  std::string maps;
  for (int i = 0; i < 100; ++i) maps += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  EXPECT_TRUE(load(maps).says("f.yaml:65: ", "nested deeper than 64 levels")) << load(maps).text();
}

TEST(PolicyLoadYaml, AnAliasStandsForItsAnchorAndABombIsRefused) {
  Loaded good = load(
      "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: &l {app: x}\n"
      "  annotations: *l\n");
  ASSERT_EQ(good.model.pods.size(), 1U) << good.text();
  EXPECT_EQ(good.model.pods[0].labels.at("app"), "x");

  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    std::string before = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 10; ++j) bomb += (j == 0 ? "" : ", ") + before;
    bomb += "]\n";
  }
  EXPECT_TRUE(load(bomb).says("f.yaml:", "more than 1000000 values")) << load(bomb).text();
  EXPECT_TRUE(has_errors(load("a: &a [*a]\n").diagnostics));
}

TEST(PolicyLoadYaml, SizeIsLimited) {
  EXPECT_TRUE(load(std::string((16U << 20) + 1, ' ')).says("f.yaml:1: ", "larger than 16 MiB"));
  std::string big = kNamespaceA + "note: " + std::string((1U << 20) + 1, 'x') + "\n";
  EXPECT_TRUE(load(big).says("f.yaml:1: ", "larger than 1 MiB"));
}

TEST(PolicyLoadYaml, AListIsOpenedAndEachItemCanBeLoadedFromItsOwnText) {
  Loaded got = load(
      "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata:\n"
      "    name: a\n  # a comment of a\n- apiVersion: v1\n  kind: Service\n  metadata: {name: s}\n"
      "  spec:\n    ports:\n    - port: 70000\n");
  ASSERT_EQ(got.objects.size(), 2U) << got.text();
  EXPECT_EQ(got.objects[0].text,
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n# a comment of a\n");
  EXPECT_EQ(got.objects[1].line, 9);
  EXPECT_TRUE(got.says("f.yaml:14: Service default/s: spec.ports[0].port: ", "out of range"))
      << got.text();
}

TEST(PolicyLoadYaml, AJsonListKeepsItsLinesToo) {
  Loaded got = load(
      "{\"apiVersion\": \"v1\", \"kind\": \"List\",\n \"items\": [\n  {\"apiVersion\": \"v1\",\n"
      "   \"kind\": \"Service\",\n   \"metadata\": {\"name\": \"s\"},\n"
      "   \"spec\": {\"ports\": [\n      {\"port\": 0}]}}]}\n");
  ASSERT_EQ(got.objects.size(), 1U) << got.text();
  EXPECT_EQ(got.objects[0].line, 3);
  EXPECT_TRUE(got.says("f.yaml:7: Service default/s: spec.ports[0].port: ", "out of range"))
      << got.text();
}

TEST(PolicyLoadYaml, OneBadDocumentRefusesAllAndEveryErrorIsListed) {
  Loaded got =
      load(kNamespaceA + "---\napiVersion: v1\nkind: Nonsense\nmetadata: {name: q}\n---\n" +
           "kind: Namespace\nmetadata: {name: Upper_Case}\n");
  EXPECT_TRUE(got.objects.empty());
  EXPECT_TRUE(got.says("f.yaml:6: Nonsense default/q: kind: ", "unknown kind")) << got.text();
  EXPECT_TRUE(got.says("f.yaml:9: ", "apiVersion: is required and missing")) << got.text();
}

TEST(PolicyLoadYaml, EnvelopeErrors) {
  EXPECT_TRUE(load("- a\n- b\n").says("f.yaml:1: ", "an object is a map"));
  EXPECT_TRUE(load("apiVersion: v1\nkind: Pod\n").says("f.yaml:1: Pod: metadata: ", "missing"));
  EXPECT_TRUE(load("apiVersion: v1\nkind: Pod\nmetadata:\n  labels: {}\n")
                  .says("f.yaml:3: Pod: metadata.name: ", "missing"));
  EXPECT_TRUE(load("apiVersion: v1\nkind: Pod\nmetadata:\n  name: A\n")
                  .says("f.yaml:4: Pod: metadata.name: ", "not a legal name"));
  EXPECT_TRUE(load("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  namespace: b.c\n")
                  .says("f.yaml:5: Pod: metadata.namespace: ", "not a legal namespace"));
  EXPECT_TRUE(load("apiVersion: networking.istio.io/v2\nkind: Gateway\nmetadata: {name: a}\n")
                  .says("f.yaml:1: Gateway default/a: apiVersion: ",
                        "networking.istio.io/v1, networking.istio.io/v1beta1"));
  EXPECT_TRUE(load("apiVersion: v1\nkind: 7\nmetadata: {name: a}\n")
                  .says("f.yaml:2: kind: ", "write it in quotes"));
}

TEST(PolicyLoadYaml, TheLaterOfTwoObjectsWithOneNameCounts) {
  Loaded got = load(
      "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {n: one}}\n---\n"
      "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {n: two}}\n");
  ASSERT_EQ(got.objects.size(), 1U);
  EXPECT_EQ(got.model.pods.at(0).labels.at("n"), "two");
  EXPECT_TRUE(got.says("f.yaml:1: Pod default/a: metadata.name: warning: ", "line 5"));
}

TEST(PolicyLoadYaml, PlainScalarsHaveTheTypesOfYaml11) {
  auto type = [](const std::string& text) {
    YamlNode node;
    node.kind = YamlNode::Kind::kScalar;
    node.scalar = text;
    return scalar_type(node);
  };
  for (const char* text : {"2.0", "1e3", ".5", "-1.5E-3", ".inf", "1."}) {
    EXPECT_EQ(type(text), ScalarType::kFloat) << text;
  }
  for (const char* text : {"0", "-7", "0x1F", "1_000", "0b11"}) {
    EXPECT_EQ(type(text), ScalarType::kInteger) << text;
  }
  for (const char* text : {"True", "yes", "off"}) EXPECT_EQ(type(text), ScalarType::kBoolean);
  for (const char* text : {"v1", "1.2.3", "7s", "-", "e3", ".", "y", "0x", "_1"}) {
    EXPECT_EQ(type(text), ScalarType::kString) << text;
  }
}

TEST(PolicyLoadYaml, EmittedTreesReadTheSame) {
  YamlNode root;
  std::string text =
      "a: {b: [1, \"2\", x y, ~, 'q\"uo\\te', true]}\nc:\n  - |\n    line\n    two\n  - []\n";
  ASSERT_FALSE(parse_yaml(text, YamlLimits{}, root));
  YamlNode again;
  ASSERT_FALSE(parse_yaml(emit_yaml(root), YamlLimits{}, again)) << emit_yaml(root);
  EXPECT_TRUE(root.same_as(again)) << emit_yaml(root);
}

}  // namespace
}  // namespace np::policy
