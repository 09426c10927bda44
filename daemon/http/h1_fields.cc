// SPDX-License-Identifier: Apache-2.0
#include "http/h1_fields.h"

#include <algorithm>
#include <cstring>

#include "http/field_kind.h"
#include "http/grammar.h"

namespace np::http {
namespace {

// More names than this in Connection are no honest message, and would cost names times fields.
constexpr size_t kConnectionNamesMax = 32;

struct Line {
  Field field;
  std::string_view raw_value;  // blanks included
};

constexpr Verdict kIncomplete{400, "incomplete"};

Verdict refuse_name(char stop, size_t name_size) {
  if (is_blank(stop)) return refuse(name_size == 0 ? "leading_blank" : "blank_before_colon");
  return refuse("bad_field_name");
}

// Takes the first line off `lines`. Neither a name nor a value can hold a CR, so the first one that
// a LF follows ends the line.
Verdict take_line(std::string_view& lines, Line& line) {
  const size_t name_size = good_bytes(lines, kTokenBytes);
  if (name_size == lines.size()) return kIncomplete;
  const char stop = lines[name_size];
  if (stop != ':') return refuse_name(stop, name_size);
  if (name_size == 0) return refuse("empty_field_name");
  line.field.name = lines.substr(0, name_size);
  lines.remove_prefix(name_size + 1);
  const size_t value_size = good_bytes(lines, ValueBytes());
  if (!lines.substr(value_size).starts_with("\r\n")) return refuse("bad_field_value");
  line.raw_value = lines.substr(0, value_size);
  // As we would write it, so that its bytes can be sent on as they are.
  line.field.is_line =
      lines.front() == ' ' &&
      (value_size == 1 || (!is_blank(lines[1]) && !is_blank(lines[value_size - 1])));
  line.field.value = line.field.is_line ? line.raw_value.substr(1) : trim_blanks(line.raw_value);
  lines.remove_prefix(value_size + 2);
  return kAccepted;
}

Verdict note_connection(std::string_view value, HeadMemory& memory, FieldSummary& summary) {
  std::string_view option;
  for (ListReader list{value}; list.next(option);) {
    if (option.empty()) continue;
    if (!is_token(option)) return refuse("bad_connection");
    if (equals_ignoring_case(option, "close")) {
      summary.has_close = true;
    } else if (equals_ignoring_case(option, "keep-alive")) {
      summary.has_keep_alive = true;
    } else if (equals_ignoring_case(option, "upgrade")) {
      summary.has_upgrade_option = true;
    } else if (is_protected_from_connection(option)) {
      return refuse("connection_names_protected_field");
    } else if (classify_field(option) == FieldKind::kOther) {
      if (memory.connection_names.size() >= kConnectionNamesMax) return refuse("bad_connection");
      memory.connection_names.push_back(option);
    }
  }
  return kAccepted;
}

void note_transfer_encoding(const Line& line, FieldSummary& summary) {
  CodingList& codings = summary.codings;
  ++summary.transfer_encoding_count;
  // Exactly what every sender writes: one blank or none before the value, none after. Peers differ
  // in what they make of anything else.
  const size_t blanks = line.raw_value.size() - line.field.value.size();
  if (blanks > 1 || (blanks == 1 && line.raw_value.front() != ' ')) codings.is_malformed = true;
  std::string_view coding;
  for (ListReader list{line.field.value}; list.next(coding);) {
    if (!is_token(coding)) codings.is_malformed = true;
    if (codings.has_chunked) codings.is_malformed = true;  // twice, or not last
    codings.ends_in_chunked = equals_ignoring_case(coding, "chunked");
    codings.has_chunked |= codings.ends_in_chunked;
    codings.has_other |= !codings.ends_in_chunked;
  }
}

void note_te(std::string_view value, FieldSummary& summary) {
  std::string_view coding;
  for (ListReader list{value}; list.next(coding);) {
    if (equals_ignoring_case(coding, "trailers")) summary.accepts_trailers = true;
  }
}

// Whether no parser can make anything else of the line than we do, or acts on it at all.
bool is_plain(const Line& line, FieldKind kind) {
  constexpr size_t kLengthDigitsMax = 18;  // no parser's number is too small for them
  switch (kind) {
    case FieldKind::kOther:
    case FieldKind::kTe:
    case FieldKind::kHost:
    case FieldKind::kExpect:
      return true;
    case FieldKind::kContentLength:
      return line.field.is_line && line.field.value.size() <= kLengthDigitsMax;
    case FieldKind::kConnection:
      return line.field.is_line && (equals_ignoring_case(line.field.value, "keep-alive") ||
                                    equals_ignoring_case(line.field.value, "close"));
    case FieldKind::kHopByHop:
    case FieldKind::kTransferEncoding:
    case FieldKind::kUpgrade:
      return false;
  }
  return false;
}

Verdict sort_line(const Line& line, Section section, HeadMemory& memory, FieldSummary& summary) {
  FieldKind kind = classify_field(line.field.name);
  if (section == Section::kTrailers) {
    const Field field{line.field.name, line.field.value};
    if (is_allowed_in_trailers(field.name)) memory.fields.push_back(field);
    return kAccepted;
  }
  const bool is_request_only = kind == FieldKind::kHost || kind == FieldKind::kExpect;
  if (is_request_only && section == Section::kResponseHead) kind = FieldKind::kOther;
  if (kind != FieldKind::kOther) summary.is_plain &= is_plain(line, kind);
  switch (kind) {
    case FieldKind::kOther:
      memory.fields.push_back(line.field);
      break;
    case FieldKind::kConnection:
      return note_connection(line.field.value, memory, summary);
    case FieldKind::kHopByHop:
      break;
    case FieldKind::kTe:
      note_te(line.field.value, summary);
      break;
    case FieldKind::kTransferEncoding:
      note_transfer_encoding(line, summary);
      break;
    case FieldKind::kContentLength:
      summary.content_length = line.field.value;
      ++summary.content_length_count;
      break;
    case FieldKind::kUpgrade:
      summary.upgrade = line.field.value;
      ++summary.upgrade_count;
      break;
    case FieldKind::kHost:
      summary.host = line.field.value;
      ++summary.host_count;
      break;
    case FieldKind::kExpect:
      summary.expect = line.field.value;
      ++summary.expect_count;
      break;
  }
  return kAccepted;
}

void remove_connection_names(HeadMemory& memory) {
  if (memory.connection_names.empty()) return;
  std::erase_if(memory.fields, [&memory](const Field& field) {
    return std::ranges::any_of(memory.connection_names, [&field](std::string_view name) {
      return equals_ignoring_case(field.name, name);
    });
  });
}

}  // namespace

Verdict read_fields(std::string_view& bytes, size_t lines_max, Section section, HeadMemory& memory,
                    FieldSummary& summary) {
  memory.fields.clear();
  memory.connection_names.clear();
  Line line;
  for (size_t count = 0; !bytes.starts_with("\r\n"); ++count) {
    if (count == lines_max) return refuse("too_many_fields");
    Verdict verdict = take_line(bytes, line);
    if (!verdict.is_refused()) verdict = sort_line(line, section, memory, summary);
    if (verdict.is_refused()) return verdict;
  }
  bytes.remove_prefix(2);
  remove_connection_names(memory);
  memory.head.fields = memory.fields;
  return kAccepted;
}

}  // namespace np::http
