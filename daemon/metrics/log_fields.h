// SPDX-License-Identifier: Apache-2.0
// The fields of the access log (traffic-semantics 3.10): each under the name of its command
// operator, with the name it has in JSON.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/time.h"
#include "metrics/record_codec.h"

namespace np::metrics {

struct LogField {
  std::string_view op;        // "RESPONSE_CODE", "REQ(:METHOD)"
  std::string_view json_key;  // "" in JSON it is not there
  bool is_number = false;
  // Nothing appended: the field has no value ("-" in a line, null in JSON).
  void (*write)(const Record& record, Duration unix_offset, std::string& out) = nullptr;
};
std::span<const LogField> log_fields();
// Null: there is no such operator.
const LogField* find_log_field(std::string_view op);

}  // namespace np::metrics
