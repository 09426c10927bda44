// SPDX-License-Identifier: Apache-2.0
// What llhttp makes of a head. The product asks it only about heads that are not plain (decision
// 0016); for tests and fuzz targets, which hold that of the others it would say the same.
#pragma once

#include <llhttp.h>

#include <string>
#include <string_view>

#include "http/codec.h"

namespace np::test {

struct WholeHead {
  bool is_complete = false;  // at its last byte, without an error
  std::string method;        // of a request
  uint16_t status = 0;       // of an answer
  bool is_chunked = false;
  uint64_t content_length = 0;
};

// `reads_as`: kServer reads a request.
inline WholeHead read_whole_head(http::Role reads_as, std::string_view head) {
  static const llhttp_settings_t kSettings = [] {
    llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    settings.on_headers_complete = [](llhttp_t* parser) {
      auto& found = *static_cast<WholeHead*>(parser->data);
      found.is_complete = true;
      found.is_chunked = (parser->flags & F_CHUNKED) != 0;
      found.content_length = parser->content_length;
      if (parser->type == HTTP_RESPONSE) {
        found.status = parser->status_code;
      } else {
        found.method = llhttp_method_name(static_cast<llhttp_method_t>(parser->method));
      }
      return 1;  // what follows is not its affair
    };
    return settings;
  }();
  WholeHead found;
  llhttp_t parser;
  llhttp_init(&parser, reads_as == http::Role::kServer ? HTTP_REQUEST : HTTP_RESPONSE, &kSettings);
  parser.data = &found;
  const size_t last = head.size() - 1;
  const bool is_early = llhttp_execute(&parser, head.data(), last) != HPE_OK || found.is_complete;
  if (is_early) return {};
  const llhttp_errno_t error = llhttp_execute(&parser, head.data() + last, 1);
  return error == HPE_OK || error == HPE_PAUSED_UPGRADE ? found : WholeHead{};
}

// Null, or how it differs from what our codec made of the same bytes.
inline const char* find_difference(const WholeHead& whole, const http::Head& head) {
  if (!whole.is_complete) return "refused";
  if (whole.method != head.method) return "method";
  if (whole.status != head.status) return "status";
  if (head.body == http::BodyKind::kStreaming && !whole.is_chunked) return "not chunked";
  if (head.body == http::BodyKind::kLength && whole.content_length != head.content_length) {
    return "length";
  }
  const bool is_bodiless_request = head.status == 0 && head.body == http::BodyKind::kNone;
  if (is_bodiless_request && (whole.is_chunked || whole.content_length > 0)) return "a body";
  return nullptr;
}

}  // namespace np::test
