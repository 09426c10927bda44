// SPDX-License-Identifier: Apache-2.0
// validate: what apply would say of these files, without a daemon and without its objects.
#include <iterator>
#include <map>

#include "base/time.h"
#include "commands.h"
#include "control/resource_name.h"
#include "files.h"
#include "last_of_each.h"
#include "output.h"
#include "policy/compile.h"
#include "policy/object.h"

namespace np::nodectl {
namespace {

policy::Diagnostics check(const std::vector<policy::Object>& objects) {
  policy::Diagnostics diagnostics;
  for (const policy::Object& object : objects) {
    policy::Model alone;
    policy::load_object(object, alone, diagnostics);
  }
  if (policy::has_errors(diagnostics)) return diagnostics;
  policy::Diagnostics of_the_set;
  const policy::Model model = policy::load_model(last_of_each(objects), of_the_set);
  if (policy::has_errors(of_the_set)) return of_the_set;
  diagnostics = std::move(of_the_set);
  policy::IdTable ids;
  policy::CompileInput input;
  input.model = &model;
  input.generation = 1;
  input.now = monotonic_now();
  const auto snapshot = policy::compile(input, ids);
  for (const policy::Finding& finding : snapshot->findings) {
    policy::Diagnostic diagnostic;
    diagnostic.level = policy::Diagnostic::Level::kWarning;
    diagnostic.file = finding.origin.file;
    diagnostic.line = finding.origin.line;
    diagnostic.object = finding.origin.to_string();
    diagnostic.message = finding.message;
    diagnostics.push_back(std::move(diagnostic));
  }
  return diagnostics;
}

std::string place_of(const policy::Diagnostic& diagnostic) {
  std::string text = diagnostic.file + ":" + std::to_string(diagnostic.line) + ": ";
  if (!diagnostic.object.empty()) text += diagnostic.object + ": ";
  if (!diagnostic.field.empty()) text += diagnostic.field + ": ";
  return text + diagnostic.message;
}

}  // namespace

int run_validate(const Invocation& invocation) {
  const auto inputs = read_inputs(invocation.files, invocation.recursive);
  if (!inputs) {
    complain("error: " + inputs.error().to_string());
    return kExitFailed;
  }
  policy::Diagnostics diagnostics;
  std::vector<policy::Object> objects;
  for (const InputFile& input : *inputs) {
    auto some = policy::parse_objects(input.text, {input.name, invocation.ns}, diagnostics);
    std::move(some.begin(), some.end(), std::back_inserter(objects));
  }
  if (!policy::has_errors(diagnostics)) diagnostics = check(objects);
  size_t errors = 0;
  std::map<std::string, std::string> notes;
  for (const policy::Diagnostic& diagnostic : diagnostics) {
    if (diagnostic.level == policy::Diagnostic::Level::kError) {
      complain(diagnostic.to_string());
      ++errors;
    } else if (diagnostic.level == policy::Diagnostic::Level::kWarning) {
      complain("Warning: " + place_of(diagnostic));
    } else {
      notes.emplace(diagnostic.object, diagnostic.message);
    }
  }
  if (errors > 0) {
    complain("error: " + std::to_string(errors) + (errors == 1 ? " error" : " errors"));
    return kExitFailed;
  }
  if (objects.empty()) {
    complain("error: no objects passed to validate");
    return kExitFailed;
  }
  for (const policy::Object& object : objects) {
    const auto note = notes.find(object.id.to_string());
    print(control::resource_name(object.id) + " valid" +
          (note == notes.end() ? "" : ": accepted, not yet in effect: " + note->second) + "\n");
  }
  return kExitDone;
}

}  // namespace np::nodectl
