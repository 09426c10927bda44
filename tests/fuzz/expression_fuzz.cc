// SPDX-License-Identifier: Apache-2.0
// Any text as an expression, and what parses evaluated against a few requests: nothing crashes,
// hangs, or says one thing twice differently.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "policy/attribute_view.h"

namespace np::policy {
namespace {

void evaluate_for(const Expression& expression, const CallerView& caller,
                  const std::vector<Field>& fields) {
  RequestView request;
  request.method = "GET";
  request.scheme = "http";
  request.authority = "ratings:9080";
  request.path = "/ratings/0";
  request.query = "key=1";
  request.fields = fields;
  DestinationAttributes destination;
  destination.service = "ratings.default.svc.cluster.local";
  destination.labels = {{"app", "ratings"}};
  AttributeView view;
  view.request = &request;
  view.caller = &caller;
  view.destination = &destination;
  Arena arena;
  const auto value = evaluate(expression, view, arena);
  if (!value) return;
  NP_CHECK(value->type == expression.type());
  Arena again_arena;
  const auto again = evaluate(expression, view, again_arena);
  NP_CHECK(again && text_of(*value, arena) == text_of(*again, again_arena));
}

}  // namespace
}  // namespace np::policy

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace np::policy;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  ExpressionProblem problem;
  const auto expression = parse_expression(text, problem);
  if (!expression) {
    NP_CHECK(!problem.message.empty());
    NP_CHECK(problem.position <= text.size());
    return 0;
  }
  NP_CHECK(expression->program().nodes.size() <= 2 * kExpressionBytesMax);
  for (const ExpressionNode& node : expression->program().nodes) {
    NP_CHECK(node.depth <= kExpressionDepthMax);
  }
  Pod pod;
  pod.name = "reviews-v3";
  pod.labels = {{"app", "reviews"}, {"version", "v3"}};
  CallerView known;
  known.pod = &pod;
  evaluate_for(*expression, known, {{"a", "1"}, {"A", "2"}, {"cookie", "user=jason"}});
  evaluate_for(*expression, CallerView{}, {});
  return 0;
}
