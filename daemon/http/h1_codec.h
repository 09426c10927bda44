// SPDX-License-Identifier: Apache-2.0
// The HTTP/1.1 and 1.0 codec, on llhttp. See codec.h for the contract.
#pragma once

#include <memory>

#include "http/codec.h"

namespace np::http {

// Limits of one codec; defaults are traffic-semantics 4.5.
struct H1Limits {
  size_t head_bytes_max = 60 * 1024;        // all header fields together -> 431
  size_t field_count_max = 100;             // -> 431
  size_t target_bytes_max = 8 * 1024;       // -> 414
  size_t method_bytes_max = 32;             // -> 400
  size_t chunk_extension_bytes_max = 4096;  // per message -> 400
  size_t trailer_bytes_max = 60 * 1024;     // -> 400
  size_t empty_lines_max = 4;               // before a request line -> 400
};

// A client-role codec learns from the kHead command what it must know of the request (HEAD, CONNECT
// and Upgrade change how the response is framed).
std::unique_ptr<Codec> make_h1_codec(Role role, const H1Limits& limits);

}  // namespace np::http
