// SPDX-License-Identifier: Apache-2.0
// explain: what becomes of one request and why; by the daemon's policy, or by files alone.
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/time.h"
#include "client.h"
#include "commands.h"
#include "control/explain_json.h"
#include "explain_text.h"
#include "files.h"
#include "last_of_each.h"
#include "output.h"
#include "policy/assume.h"
#include "policy/compile.h"
#include "policy/explain.h"
#include "policy/object.h"

namespace np::nodectl {
namespace {

using Json = nlohmann::json;

policy::QuestionText question_of(const Invocation& invocation) {
  policy::QuestionText text;
  text.from = invocation.from;
  text.to = invocation.to;
  text.ns = invocation.ns;
  text.method = invocation.method;
  text.path = invocation.path;
  text.headers = invocation.headers;
  return text;
}

// The objects of all files; nothing when one of them is wrong, which has been told.
std::optional<policy::Model> load_files(const Invocation& invocation) {
  const auto inputs = read_inputs(invocation.files, invocation.recursive);
  if (!inputs) {
    complain("error: " + inputs.error().to_string());
    return std::nullopt;
  }
  policy::Diagnostics diagnostics;
  std::vector<policy::Object> objects;
  for (const InputFile& input : *inputs) {
    auto some = policy::parse_objects(input.text, {input.name, invocation.ns}, diagnostics);
    for (policy::Object& object : some) {
      object.sequence = objects.size() + 1;  // as if they were applied in this order
      objects.push_back(std::move(object));
    }
  }
  policy::Model model;
  if (!policy::has_errors(diagnostics))
    model = policy::load_model(last_of_each(objects), diagnostics);
  // Warnings are for validate: some are about what is assumed here.
  for (const policy::Diagnostic& diagnostic : diagnostics) {
    if (diagnostic.level == policy::Diagnostic::Level::kError) complain(diagnostic.to_string());
  }
  if (policy::has_errors(diagnostics)) return std::nullopt;
  return model;
}

std::shared_ptr<const policy::Snapshot> compile_at(Instant now, const policy::Model& model) {
  policy::IdTable ids;
  policy::CompileInput input;
  input.model = &model;
  input.generation = 1;
  input.now = now;
  input.unix_now_ns = wall_clock_ns();
  return policy::compile(input, ids);
}

std::optional<Json> explain_files(const Invocation& invocation) {
  auto question = policy::read_question(question_of(invocation));
  if (!question) {
    complain("error: " + question.error().to_string());
    return std::nullopt;
  }
  auto model = load_files(invocation);
  if (!model) return std::nullopt;
  std::vector<std::string> assumed = policy::assume_services(*question, *model);
  policy::ExplainInput input;
  input.model = &*model;
  input.question = *question;
  input.now = monotonic_now();
  input.snapshot = compile_at(input.now, *model);
  const bool is_address = IpAddress::parse(question->from).has_value();
  if (!is_address && policy::resolve_call(*question, *model, *input.snapshot).pod == nullptr) {
    for (std::string& note : policy::assume_caller(*question, *model)) {
      assumed.push_back(std::move(note));
    }
    input.snapshot = compile_at(input.now, *model);
  }
  Json json = Json::parse(control::explanation_text(*policy::explain(input)));
  for (std::string& text : assumed) json["notes"].push_back(std::move(text));
  json["live"] = false;
  return json;
}

std::optional<Json> explain_live(const Invocation& invocation) {
  const Json request = {{"verb", "explain"},
                        {"from", invocation.from},
                        {"to", invocation.to},
                        {"namespace", invocation.ns},
                        {"method", invocation.method},
                        {"path", invocation.path},
                        {"headers", invocation.headers}};
  Json answer;
  if (!ask_or_complain(invocation.run_dir, request, answer)) return std::nullopt;
  answer.erase("ok");
  return answer;
}

}  // namespace

int run_explain(const Invocation& invocation) {
  const auto answer =
      invocation.files.empty() ? explain_live(invocation) : explain_files(invocation);
  if (!answer) return kExitFailed;
  if (invocation.output == Output::kJson) {
    print(answer->dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  } else if (invocation.output == Output::kYaml) {
    print(to_yaml(*answer));
  } else {
    print(explanation_text(*answer, invocation.output == Output::kWide));
  }
  return kExitDone;
}

}  // namespace np::nodectl
