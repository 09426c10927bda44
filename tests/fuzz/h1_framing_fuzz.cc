// SPDX-License-Identifier: Apache-2.0
// The same bytes whole and in pieces must give the same events, in both roles. Layout: one byte of
// choices, one byte n, n bytes of piece sizes (used in turn), the input.
#include "h1_fuzz_support.h"

namespace np::http {
namespace {

void ignore(const StreamEvent&) {}

void begin_request(Codec& codec, std::string_view method) {
  Head head;
  head.method = method;
  head.authority = "a:1";
  head.target = "/";
  head.upgrade = method == "GET" ? "websocket" : "";
  OutputQueue unused;
  StreamCommand command;
  command.stream = codec.open_stream();
  command.head = &head;
  command.end_of_message = true;
  codec.on_command(std::move(command), unused);
}

// Feeds all of `input` in pieces; keeps what is not used, as an engine does. Answers each request
// once it has ended.
std::string read(uint8_t choices, std::string_view input, std::string_view piece_sizes) {
  const bool is_client = (choices & 1U) != 0;
  FuzzedCodec codec(is_client ? Role::kClient : Role::kServer, fuzz_limits());
  if (is_client) begin_request(codec.codec(), (choices & 2U) != 0 ? "GET" : "HEAD");
  std::string pending;
  const auto answer = [&](const StreamEvent& event) {
    if (is_client || event.kind != StreamEvent::Kind::kEnd) return;
    Head head;
    head.status = (choices & 2U) != 0 ? 101 : 304;
    head.upgrade = head.status == 101 ? "websocket" : "";
    if (head.status == 101) codec.expect_tunnel();
    OutputQueue unused;
    StreamCommand command;
    command.stream = event.stream;
    command.head = &head;
    command.end_of_message = head.status != 101;
    codec.codec().on_command(std::move(command), unused);
  };
  for (size_t turn = 0; !input.empty(); ++turn) {
    size_t size = input.size();
    if (!piece_sizes.empty()) {
      const auto wanted = static_cast<uint8_t>(piece_sizes[turn % piece_sizes.size()]);
      size = std::min<size_t>(size, wanted % 32U + 1U);
    }
    pending.append(input.substr(0, size));
    input.remove_prefix(size);
    while (!pending.empty()) {
      const size_t used = codec.feed(pending, answer);
      pending.erase(0, used);
      if (used == 0) break;
    }
  }
  if ((choices & 4U) != 0) codec.finish(ignore);
  return codec.transcript();
}

}  // namespace
}  // namespace np::http

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size - 2 < data[1]) return 0;
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const std::string_view piece_sizes = all.substr(2, data[1]);
  const std::string_view input = all.substr(2U + data[1]);
  const std::string whole = np::http::read(data[0], input, {});
  NP_CHECK(whole == np::http::read(data[0], input, piece_sizes));
  NP_CHECK(whole == np::http::read(data[0], input, std::string_view("\0", 1)));
  return 0;
}
