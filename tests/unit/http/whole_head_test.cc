// SPDX-License-Identifier: Apache-2.0
// Decision 0016: plain heads are read once. Heads put together at random, many of them broken
// somewhere: what our reader accepts, llhttp must read alike, and so must our reader itself when it
// gets the head in two pieces.
#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string>

#include "http/h1_codec.h"
#include "tests/support/whole_head.h"

namespace np::http {
namespace {

constexpr int kHeads = 60'000;

class HeadMaker {
 public:
  explicit HeadMaker(Role reads_as) : is_request_(reads_as == Role::kServer) {}

  std::string make() {
    std::string head = is_request_ ? pick(kRequestLines) : pick(kStatusLines);
    if (is_request_) head += "Host: a\r\n";
    for (size_t i = below(5); i > 0; --i) {
      head += below(3) == 0 ? pick(kFramingLines) : token() + ": " + value() + "\r\n";
    }
    head += "\r\n";
    // Every second one is broken, or at least no longer what it was.
    if (below(2) == 0) head[below(head.size())] = static_cast<char>(below(256));
    return head;
  }

 private:
  static constexpr const char* kRequestLines[] = {
      "GET / HTTP/1.1\r\n",        "POST /a?b=%41 HTTP/1.1\r\n",
      "PUT /\\^`{|} HTTP/1.0\r\n", "HEAD http://a:8/ HTTP/1.1\r\n",
      "OPTIONS * HTTP/1.1\r\n",    "CONNECT a:443 HTTP/1.1\r\n",
      "DELETE /;x HTTP/1.1\r\n",   "M-SEARCH / HTTP/1.1\r\n",
      "REPORT /~ HTTP/1.1\r\n"};
  static constexpr const char* kStatusLines[] = {
      "HTTP/1.1 200 OK\r\n",         "HTTP/1.1 204 \r\n",     "HTTP/1.0 404\r\n",
      "HTTP/1.1 301 \x80\xff x\r\n", "HTTP/1.1 503 a\tb\r\n", "HTTP/1.1 304 Not Modified\r\n"};
  static constexpr const char* kFramingLines[] = {"Content-Length: 5\r\n",
                                                  "content-length:0\r\n",
                                                  "Content-Length: 5 \r\n",
                                                  "Transfer-Encoding: chunked\r\n",
                                                  "transfer-encoding: Chunked\r\n",
                                                  "Transfer-Encoding:gzip\r\n",
                                                  "Connection: close\r\n",
                                                  "Connection: keep-alive, x-a\r\n",
                                                  "Connection: upgrade\r\n",
                                                  "Connection:\r\n",
                                                  "Upgrade: websocket\r\n",
                                                  "Proxy-Connection: keep-alive\r\n",
                                                  "Keep-Alive: timeout=5\r\n",
                                                  "Expect: 100-continue\r\n",
                                                  "TE: trailers\r\n"};

  size_t below(size_t end) { return random_() % end; }
  template <size_t kCount>
  std::string pick(const char* const (&from)[kCount]) {
    return from[below(kCount)];
  }
  std::string text(std::string_view from, size_t longest) {
    std::string out;
    for (size_t i = below(longest); i > 0; --i) out += from[below(from.size())];
    return out;
  }
  std::string token() { return "x" + text("abcXYZ019!#$%&'*+-.^_`|~", 40); }
  std::string value() { return text("abc XYZ\t019\"(),/:;<=>?@[]{}\\\x80\xc3\xff", 60); }

  bool is_request_;
  std::mt19937 random_{20261128};
};

struct Reader {
  explicit Reader(Role reads_as) : codec(make_h1_codec(reads_as, {})) {
    if (reads_as == Role::kServer) return;
    Head head;
    head.method = "GET";
    head.authority = "a";
    head.target = "/";
    OutputQueue unused;
    StreamCommand command;
    command.stream = codec->open_stream();
    command.head = &head;
    command.end_of_message = true;
    codec->on_command(std::move(command), unused);
  }
  size_t read(std::string_view bytes) { return codec->on_bytes(Slice{{}, bytes}, events); }

  // What is made of the next bytes, but for the pieces of a body.
  std::string tell(std::string_view bytes) {
    events.clear();
    (void)read(bytes);
    std::string text;
    for (const StreamEvent& event : events) {
      if (event.kind == StreamEvent::Kind::kData) continue;
      text += std::to_string(static_cast<int>(event.kind)) + ' ';
      text += std::to_string(event.answer_status) + (event.detail != nullptr ? event.detail : "");
      if (event.head == nullptr) continue;
      const Head& head = *event.head;
      text += std::string(head.method) + ' ' + std::string(head.authority) + ' ';
      text += std::string(head.target) + ' ' + std::to_string(head.status);
      text += ' ' + std::to_string(static_cast<int>(head.body)) + ' ';
      text += std::to_string(head.content_length) + '\n';
      for (const Field& field : head.fields) {
        text += std::string(field.name) + '=' + std::string(field.value) + '\n';
      }
    }
    return text;
  }

  std::unique_ptr<Codec> codec;
  StreamEventList events;
};

// How llhttp differs on what our codec accepts.
std::optional<std::string> difference_of(Role reads_as, const std::string& bytes, int& accepted) {
  Reader reader(reads_as);
  const size_t used = reader.read(bytes);
  const StreamEventList& events = reader.events;
  if (events.empty() || events[0].kind != StreamEvent::Kind::kHead || used != bytes.size()) {
    return std::nullopt;
  }
  ++accepted;
  const test::WholeHead whole = test::read_whole_head(reads_as, bytes);
  const char* const difference = test::find_difference(whole, *events[0].head);
  return difference == nullptr ? std::nullopt : std::optional<std::string>(difference);
}

void expect_same_in_pieces(Role reads_as, const std::string& bytes, size_t cut) {
  Reader whole(reads_as), pieces(reads_as);
  const std::string_view all = bytes;
  std::string in_pieces = pieces.tell(all.substr(0, cut));
  in_pieces += pieces.tell(all.substr(cut));
  ASSERT_EQ(whole.tell(all), in_pieces) << "cut at " << cut << " in\n" << bytes;
}

void expect_no_difference(Role reads_as) {
  HeadMaker maker(reads_as);
  std::mt19937 random(20261129);
  int accepted = 0;
  for (int i = 0; i < kHeads; ++i) {
    const std::string bytes = maker.make();
    const std::optional<std::string> difference = difference_of(reads_as, bytes, accepted);
    ASSERT_FALSE(difference.has_value()) << *difference << " in\n" << bytes;
    expect_same_in_pieces(reads_as, bytes, random() % bytes.size());
    if (::testing::Test::HasFatalFailure()) return;
  }
  EXPECT_GT(accepted, kHeads / 4);  // else this shows nothing
  EXPECT_LT(accepted, kHeads - kHeads / 8);
}

TEST(WholeHead, RequestsThatWeAcceptLlhttpReadsAlike) {
  expect_no_difference(Role::kServer);
}

TEST(WholeHead, AnswersThatWeAcceptLlhttpReadsAlike) {
  expect_no_difference(Role::kClient);
}

}  // namespace
}  // namespace np::http
