// SPDX-License-Identifier: Apache-2.0
#include "metrics/log_format.h"

#include <algorithm>
#include <charconv>

#include "base/ascii.h"
#include "metrics/json_text.h"
#include "metrics/log_fields.h"

namespace np::metrics {

const std::string_view kDefaultLogFormat =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" "
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" "
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER% "
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME% \"%POLICY%\"";

namespace {

Error wrong_format(std::string detail, std::string hint) {
  return {ErrorCode::kInvalid, "access log format", std::move(detail), std::move(hint)};
}

Error unknown_operator(std::string_view op) {
  std::string known;
  for (const LogField& field : log_fields()) {
    known.append(known.empty() ? "" : ", ").append(field.op);
  }
  return wrong_format("%" + std::string(op) + "% is not known", "known are " + known);
}

// A UTF-8 sequence of several bytes that some reader takes for a command or for the end of a line:
// C1 controls, U+2028 and U+2029.
bool is_control(std::string_view sequence) {
  const bool is_c1 = sequence[0] == '\xc2' && static_cast<unsigned char>(sequence[1]) < 0xa0;
  return is_c1 || sequence == "\xe2\x80\xa8" || sequence == "\xe2\x80\xa9";
}

void append_bytes(std::string& out, std::string_view bytes) {
  constexpr std::string_view kHex = "0123456789abcdef";
  for (const char c : bytes) {
    const auto code = static_cast<unsigned char>(c);
    out.append("\\x") += kHex[code >> 4U];
    out += kHex[code & 15U];
  }
}

// A client must not be able to end a line, or a quoted part of it, nor to talk to the terminal
// that shows it.
void append_clean(std::string& out, std::string_view text) {
  for (;;) {
    const auto end = std::find_if_not(text.begin(), text.end(), is_plain_text);
    const auto plain = static_cast<size_t>(end - text.begin());
    out.append(text.substr(0, plain));
    text.remove_prefix(plain);
    if (text.empty()) return;
    const size_t length = utf8_length(text);
    const std::string_view sequence = text.substr(0, std::max<size_t>(length, 1));
    if (length > 1 && !is_control(sequence)) {
      out.append(sequence);
    } else {
      append_bytes(out, sequence);
    }
    text.remove_prefix(sequence.size());
  }
}

void write_json(const Record& record, Duration unix_offset, std::string& out) {
  std::string value;
  char before = '{';
  for (const LogField& field : log_fields()) {
    if (field.json_key.empty()) continue;
    value.clear();
    field.write(record, unix_offset, value);
    out += before;
    before = ',';
    append_json(out, field.json_key);
    out += ':';
    if (value.empty()) {
      out += "null";
    } else if (field.is_number) {
      out += value;
    } else {
      append_json(out, value);
    }
  }
  out += "}\n";
}

// "REQ(X):40" -> 40, and the operator without it. False: there is no number behind the colon.
bool take_length(std::string_view& op, size_t& bytes_max) {
  const size_t colon = op.rfind(':');
  const size_t bracket = op.rfind(')');
  const bool is_length =
      colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  if (!is_length) return true;
  const std::string_view digits = op.substr(colon + 1);
  const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), bytes_max);
  op = op.substr(0, colon);
  return end.ec == std::errc() && end.ptr == digits.data() + digits.size();
}

}  // namespace

Result<LogFormat> LogFormat::parse(std::string_view text) {
  LogFormat format;
  format.is_json_ = text == "json";
  if (format.is_json_) return format;
  if (text == "default") text = kDefaultLogFormat;
  if (text.empty()) return wrong_format("it is empty", "write json, default, or a line");
  while (!text.empty()) {
    const size_t percent = text.find('%');
    const std::string_view plain = text.substr(0, percent);
    if (!plain.empty()) format.pieces_.push_back({nullptr, std::string(plain), 0});
    if (percent == std::string_view::npos) break;
    const size_t end = text.find('%', percent + 1);
    std::string_view op = text.substr(percent + 1, end - percent - 1);
    if (end == std::string_view::npos) {
      return wrong_format("%" + std::string(op) + " has no second %",
                          "%OPERATOR% stands for a value, %% for the sign");
    }
    text.remove_prefix(end + 1);
    if (op.empty()) {  // "%%"
      format.pieces_.push_back({nullptr, "%", 0});
      continue;
    }
    const std::string_view whole = op;
    Piece piece;
    const bool has_length = take_length(op, piece.bytes_max);
    const LogField* field = find_log_field(op);
    if (!has_length || field == nullptr) return unknown_operator(whole);
    piece.write = field->write;
    format.pieces_.push_back(std::move(piece));
  }
  return format;
}

void LogFormat::write(const Record& record, Duration unix_offset, std::string& out) const {
  if (is_json_) return write_json(record, unix_offset, out);
  std::string value;
  for (const Piece& piece : pieces_) {
    if (piece.write == nullptr) {
      out += piece.text;
      continue;
    }
    value.clear();
    piece.write(record, unix_offset, value);
    std::string_view shown = value;
    if (piece.bytes_max > 0) shown = shown.substr(0, piece.bytes_max);
    if (shown.empty()) shown = "-";
    append_clean(out, shown);
  }
  out += '\n';
}

}  // namespace np::metrics
