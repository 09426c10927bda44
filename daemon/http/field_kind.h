// SPDX-License-Identifier: Apache-2.0
// FieldKind: which header fields belong to a connection or to framing, and so never pass through as
// they are (traffic-semantics 4.3). Pure functions; any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace np::http {

enum class FieldKind : uint8_t {
  kOther,  // end-to-end, unless a Connection field names it
  kConnection,
  kHopByHop,  // Keep-Alive, Proxy-Connection, Proxy-Authenticate, Proxy-Authorization,
              // HTTP2-Settings: always removed, never looked at
  kTe,
  kTransferEncoding,
  kContentLength,
  kUpgrade,
  kHost,    // means something in requests only
  kExpect,  // likewise
};

FieldKind classify_field(std::string_view name);

// A field that a Connection header must not name: removing it would take away what policy, routing
// or tracing needs.
bool is_protected_from_connection(std::string_view name);

// A field that may be passed on in a trailer section: nothing about framing, routing,
// authentication, caching decisions or content (RFC 9110 6.5.1).
bool is_allowed_in_trailers(std::string_view name);

}  // namespace np::http
