// SPDX-License-Identifier: Apache-2.0
#include "http/grammar.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "http/field_kind.h"
#include "http/status_text.h"

namespace np::http {
namespace {

bool is_valid_value_byte(int byte) {
  return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

TEST(Grammar, FieldValueByteByByteAtEveryPlaceOfAWord) {
  for (int byte = 0; byte < 256; ++byte) {
    for (size_t at = 0; at < 19; ++at) {
      std::string value(19, 'x');
      value[at] = static_cast<char>(byte);
      EXPECT_EQ(is_field_value(value), is_valid_value_byte(byte)) << byte << " at " << at;
      // Next to a tab, which sends its word down the slow path.
      value[(at + 1) % 19] = '\t';
      EXPECT_EQ(is_field_value(value), is_valid_value_byte(byte)) << byte << " at " << at;
    }
  }
}

TEST(Grammar, Token) {
  EXPECT_TRUE(is_token("a-Z_0!#$%&'*+.^`|~"));
  EXPECT_FALSE(is_token(""));
  for (const char c : std::string("\"(),/:;<=>?@[\\]{} \t\r\n\x7f\x80")) {
    EXPECT_FALSE(is_token(std::string(1, c))) << c;
  }
}

TEST(Grammar, Authority) {
  const auto fault = [](std::string_view text, PortRule port = PortRule::kOptional) {
    const char* found = find_authority_fault(text, port);
    return std::string(found == nullptr ? "" : found);
  };
  EXPECT_EQ(fault("a.b-c_d"), "");
  EXPECT_EQ(fault("1.2.3.4:80"), "");
  EXPECT_EQ(fault("[fe80::1]:65535"), "");
  EXPECT_EQ(fault("a:0"), "");
  EXPECT_EQ(fault(""), "bad_host");
  EXPECT_EQ(fault(":80"), "bad_host");
  EXPECT_EQ(fault("a:b:c"), "bad_port");
  EXPECT_EQ(fault("a:65536"), "bad_port");
  EXPECT_EQ(fault("a:+1"), "bad_port");
  EXPECT_EQ(fault("[]"), "bad_host");
  EXPECT_EQ(fault("[::1]x"), "bad_host");
  EXPECT_EQ(fault("[g::1]"), "bad_host");
  EXPECT_EQ(fault("u@h"), "userinfo");
  EXPECT_EQ(fault("a", PortRule::kRequired), "bad_port");
  EXPECT_EQ(fault("a:1", PortRule::kRequired), "");
}

TEST(Grammar, Length) {
  uint64_t value = 1;
  EXPECT_TRUE(parse_length("0", value));
  EXPECT_EQ(value, 0U);
  EXPECT_TRUE(parse_length("9223372036854775807", value));
  EXPECT_EQ(value, 9223372036854775807U);
  for (const char* text : {"", "9223372036854775808", "99999999999999999999", "-1", "1 ", "a"}) {
    EXPECT_FALSE(parse_length(text, value)) << text;
  }
}

TEST(Grammar, Lists) {
  std::vector<std::string> elements;
  std::string_view element;
  for (ListReader list{" a ,,\tb"}; list.next(element);) elements.emplace_back(element);
  EXPECT_EQ(elements, (std::vector<std::string>{"a", "", "b"}));
}

TEST(FieldKind, Classes) {
  EXPECT_EQ(classify_field("HOST"), FieldKind::kHost);
  EXPECT_EQ(classify_field("Transfer-Encoding"), FieldKind::kTransferEncoding);
  EXPECT_EQ(classify_field("content-length"), FieldKind::kContentLength);
  EXPECT_EQ(classify_field("Keep-Alive"), FieldKind::kHopByHop);
  EXPECT_EQ(classify_field("Connection"), FieldKind::kConnection);
  EXPECT_EQ(classify_field("proxy-authorization"), FieldKind::kHopByHop);
  EXPECT_EQ(classify_field("Accept"), FieldKind::kOther);
  EXPECT_EQ(classify_field(""), FieldKind::kOther);
  EXPECT_TRUE(is_protected_from_connection("X-Forwarded-For"));
  EXPECT_FALSE(is_protected_from_connection("X-Custom"));
  EXPECT_TRUE(is_allowed_in_trailers("Grpc-Status"));
  EXPECT_FALSE(is_allowed_in_trailers("Trailer"));
  EXPECT_FALSE(is_allowed_in_trailers("proxy-authorization"));
}

TEST(StatusText, Lookup) {
  EXPECT_EQ(status_text(100), "Continue");
  EXPECT_EQ(status_text(200), "OK");
  EXPECT_EQ(status_text(404), "Not Found");
  EXPECT_EQ(status_text(511), "Network Authentication Required");
  EXPECT_EQ(status_text(299), "");
  EXPECT_EQ(status_text(599), "");
}

}  // namespace
}  // namespace np::http
