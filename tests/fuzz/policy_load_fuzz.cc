// SPDX-License-Identifier: Apache-2.0
// Any bytes given to `nodectl apply`: they may be refused, and must never crash, hang or leave an
// object that was accepted by parse_objects() unreadable to load_object().
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "policy/object.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  np::policy::ParseOptions options;
  options.file = "input.yaml";
  np::policy::Diagnostics diagnostics;
  std::vector<np::policy::Object> objects = np::policy::parse_objects(text, options, diagnostics);
  NP_CHECK(objects.empty() || !np::policy::has_errors(diagnostics));
  (void)np::policy::load_model(objects, diagnostics);
  for (const np::policy::Diagnostic& diagnostic : diagnostics) {
    NP_CHECK(diagnostic.line >= 0);
    NP_CHECK(diagnostic.to_string().find('\n') == std::string::npos);
  }
  return 0;
}
