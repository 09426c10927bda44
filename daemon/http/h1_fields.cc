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

// One line without its CRLF, which follows it in memory.
struct Line {
  Field field;
  std::string_view raw_value;  // blanks included
};

Verdict split_line(std::string_view text, Line& line) {
  size_t name_size = 0;
  while (name_size < text.size() && is_token_char(text[name_size])) ++name_size;
  const char stop = name_size < text.size() ? text[name_size] : '\0';
  if (stop != ':') {
    const bool is_blank = stop == ' ' || stop == '\t';
    if (is_blank) return refuse(name_size == 0 ? "leading_blank" : "blank_before_colon");
    return refuse("bad_field_name");
  }
  if (name_size == 0) return refuse("empty_field_name");
  line.field.name = text.substr(0, name_size);
  line.raw_value = text.substr(name_size + 1);
  if (!is_field_value(line.raw_value)) return refuse("bad_field_value");
  line.field.value = trim_blanks(line.raw_value);
  return kAccepted;
}

// As we would write it, so that its bytes can be sent on as they are.
bool is_written_so(const Line& line) {
  return line.raw_value.size() == line.field.value.size() + 1 && line.raw_value.front() == ' ';
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

Verdict sort_line(const Line& line, Section section, HeadMemory& memory, FieldSummary& summary) {
  FieldKind kind = classify_field(line.field.name);
  if (section == Section::kTrailers) {
    if (is_allowed_in_trailers(line.field.name)) memory.fields.push_back(line.field);
    return kAccepted;
  }
  const bool is_request_only = kind == FieldKind::kHost || kind == FieldKind::kExpect;
  if (is_request_only && section == Section::kResponseHead) kind = FieldKind::kOther;
  switch (kind) {
    case FieldKind::kOther:
      memory.fields.push_back(line.field);
      memory.fields.back().is_line = is_written_so(line);
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

Verdict read_fields(std::string_view lines, Section section, HeadMemory& memory,
                    FieldSummary& summary) {
  memory.fields.clear();
  memory.connection_names.clear();
  while (!lines.empty()) {
    const size_t line_feed = lines.find('\n');  // there is one: the scanner saw it
    Line line;
    Verdict verdict = split_line(lines.substr(0, line_feed - 1), line);
    if (!verdict.is_refused()) verdict = sort_line(line, section, memory, summary);
    if (verdict.is_refused()) return verdict;
    lines.remove_prefix(line_feed + 1);
  }
  remove_connection_names(memory);
  memory.head.fields = memory.fields;
  return kAccepted;
}

}  // namespace np::http
