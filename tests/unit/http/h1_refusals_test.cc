// SPDX-License-Identifier: Apache-2.0
// Every row of traffic-semantics 4.1, both tables: what is refused, with which status and for which
// reason, the same however the bytes are cut. Each input is followed by a second request, of which
// nothing may be seen.
#include <gtest/gtest.h>

#include <ostream>

#include "codec_harness.h"

namespace np::http {
namespace {

using std::string_literals::operator""s;

struct Row {
  std::string name;
  std::string input;
  std::string outcome;  // the whole transcript
};

std::ostream& operator<<(std::ostream& out, const Row& row) {
  return out << row.name;
}

std::string row_name(const testing::TestParamInfo<Row>& info) {
  return info.param.name;
}

// A request head out of a start line and further lines, each given without CRLF.
std::string head(const std::string& start, const std::vector<std::string>& lines) {
  std::string out = start + "\r\n";
  for (const std::string& line : lines) out += line + "\r\n";
  return out + "\r\n";
}

std::string post(const std::vector<std::string>& lines) {
  std::vector<std::string> all = {"Host: a"};
  all.insert(all.end(), lines.begin(), lines.end());
  return head("POST / HTTP/1.1", all);
}

std::string refused(int status, const std::string& detail) {
  return "refused " + std::to_string(status) + " " + detail + "\n";
}

// A chunked request that is broken after its head.
std::string chunked(const std::string& body) {
  return post({"Transfer-Encoding: chunked"}) + body;
}
std::string broken_body(const std::string& data, const std::string& detail) {
  const std::string line = data.empty() ? "" : "data " + data + "\n";
  return "head #1 POST a / streaming\n" + line + "reset protocol 400 " + detail + "\n";
}

class RefusedRequest : public testing::TestWithParam<Row> {};

TEST_P(RefusedRequest, SameInEveryFeed) {
  const std::string evil = "GET /second HTTP/1.1\r\nHost: b\r\n\r\n";
  EXPECT_EQ(feed_all_ways(GetParam().input + evil), GetParam().outcome);
}

INSTANTIATE_TEST_SUITE_P(
    Framing, RefusedRequest,
    testing::Values(
        Row{"TeAndCl", post({"Transfer-Encoding: chunked", "Content-Length: 3"}),
            refused(400, "cl_and_te")},
        Row{"ClAndTe", post({"Content-Length: 3", "Transfer-Encoding: chunked"}),
            refused(400, "cl_and_te")},
        Row{"TeLastNotChunked", post({"Transfer-Encoding: gzip"}),
            refused(400, "bad_transfer_encoding")},
        Row{"TeIdentity", post({"Transfer-Encoding: identity"}),
            refused(400, "bad_transfer_encoding")},
        Row{"TeUnknownBeforeChunked", post({"Transfer-Encoding: gzip, chunked"}),
            refused(501, "unknown_coding")},
        Row{"TeUnknownBeforeChunkedTwoFields",
            post({"Transfer-Encoding: gzip", "Transfer-Encoding: chunked"}),
            refused(501, "unknown_coding")},
        Row{"TeChunkedTwice", post({"Transfer-Encoding: chunked, chunked"}),
            refused(400, "bad_transfer_encoding")},
        Row{"TeChunkedTwiceTwoFields",
            post({"Transfer-Encoding: chunked", "Transfer-Encoding: chunked"}),
            refused(400, "bad_transfer_encoding")},
        Row{"TeChunkedNotLast", post({"Transfer-Encoding: chunked, gzip"}),
            refused(400, "bad_transfer_encoding")},
        Row{"TeXchunked", post({"Transfer-Encoding: xchunked"}),
            refused(400, "bad_transfer_encoding")},
        Row{"TeQuoted", post({"Transfer-Encoding: \"chunked\""}),
            refused(400, "bad_transfer_encoding")},
        Row{"TeEmpty", post({"Transfer-Encoding:"}), refused(400, "bad_transfer_encoding")},
        Row{"TeTab", post({"Transfer-Encoding:\tchunked"}), refused(400, "bad_transfer_encoding")},
        Row{"TeTrailingBlank", post({"Transfer-Encoding: chunked "}),
            refused(400, "bad_transfer_encoding")},
        Row{"TeTwoBlanks", post({"Transfer-Encoding:  chunked"}),
            refused(400, "bad_transfer_encoding")},
        Row{"TeVerticalTab", post({"Transfer-Encoding: \vchunked"}),
            refused(400, "bad_field_value")},
        Row{"TeEmptyListElement", post({"Transfer-Encoding: , chunked"}),
            refused(400, "bad_transfer_encoding")},
        Row{"TeTrailingComma", post({"Transfer-Encoding: chunked,"}),
            refused(400, "bad_transfer_encoding")},
        Row{"TeParameter", post({"Transfer-Encoding: chunked;q=1"}),
            refused(400, "bad_transfer_encoding")},
        Row{"TeInHttp10",
            head("POST / HTTP/1.0", {"Host: a", "Transfer-Encoding: chunked"}) + "0\r\n\r\n",
            refused(400, "te_in_http10")},
        Row{"ClDiffering", post({"Content-Length: 3", "Content-Length: 4"}),
            refused(400, "repeated_content_length")},
        Row{"ClRepeatedSame", post({"Content-Length: 3", "Content-Length: 3"}),
            refused(400, "repeated_content_length")},
        Row{"ClListSame", post({"Content-Length: 3, 3"}), refused(400, "bad_content_length")},
        Row{"ClPlus", post({"Content-Length: +3"}), refused(400, "bad_content_length")},
        Row{"ClMinus", post({"Content-Length: -3"}), refused(400, "bad_content_length")},
        Row{"ClBlankInside", post({"Content-Length: 3 4"}), refused(400, "bad_content_length")},
        Row{"ClHex", post({"Content-Length: 0x3"}), refused(400, "bad_content_length")},
        Row{"ClEmpty", post({"Content-Length:"}), refused(400, "bad_content_length")},
        Row{"ClTwoToThe63", post({"Content-Length: 9223372036854775808"}),
            refused(400, "bad_content_length")},
        Row{"ClTwoToThe64", post({"Content-Length: 18446744073709551616"}),
            refused(400, "bad_content_length")},
        Row{"ConnectWithBody", head("CONNECT a:1 HTTP/1.1", {"Host: a", "Content-Length: 3"}),
            refused(400, "connect_with_body")}),
    row_name);

INSTANTIATE_TEST_SUITE_P(
    FieldLines, RefusedRequest,
    testing::Values(
        Row{"BlankBeforeColon", post({"X : 1"}), refused(400, "blank_before_colon")},
        Row{"TabBeforeColon", post({"X\t: 1"}), refused(400, "blank_before_colon")},
        Row{"BlankBeforeTeColon", post({"Transfer-Encoding : chunked"}),
            refused(400, "blank_before_colon")},
        Row{"BlankBeforeFirstField", head("GET / HTTP/1.1", {" Host: a"}),
            refused(400, "leading_blank")},
        Row{"ObsFold", post({"X: 1", " 2"}), refused(400, "leading_blank")},
        Row{"ObsFoldTab", post({"X: 1", "\t2"}), refused(400, "leading_blank")},
        Row{"ObsFoldBlankOnly", post({"X: 1", " "}), refused(400, "leading_blank")},
        Row{"BareLfInFields", "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", refused(400, "bare_lf")},
        Row{"BareLfAfterRequestLine", "GET / HTTP/1.1\nHost: a\r\n\r\n", refused(400, "bare_lf")},
        Row{"BareLfAtEnd", "GET / HTTP/1.1\r\nHost: a\r\n\n", refused(400, "bare_lf")},
        Row{"BareCrInValue", post({"X: 1\r2"}), refused(400, "bad_field_value")},
        Row{"BareCrAfterColon", post({"X:\rTransfer-Encoding: chunked"}),
            refused(400, "bad_field_value")},
        Row{"NulInValue", post({"X: 1\0002"s}), refused(400, "bad_field_value")},
        Row{"ControlInValue", post({"X: 1\x01"}), refused(400, "bad_field_value")},
        Row{"DelInLongValue", post({"X: 0123456789\x7f"}), refused(400, "bad_field_value")},
        Row{"EmptyName", post({": 1"}), refused(400, "empty_field_name")},
        Row{"NoColon", post({"NoColon"}), refused(400, "bad_field_name")},
        Row{"ObsTextInName", post({"X\x80: 1"}), refused(400, "bad_field_name")},
        Row{"NulInName", post({"X\000Y: 1"s}), refused(400, "bad_field_name")},
        Row{"ParenthesisInName", post({"X(: 1"}), refused(400, "bad_field_name")}),
    row_name);

INSTANTIATE_TEST_SUITE_P(
    StartLine, RefusedRequest,
    testing::Values(
        Row{"BareLfEmptyLine", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", refused(400, "bare_lf")},
        Row{"TooManyEmptyLines", "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            refused(400, "empty_lines")},
        Row{"NoHost", head("GET / HTTP/1.1", {"X: 1"}), refused(400, "no_host")},
        Row{"NoHostWithAbsoluteForm", head("GET http://a/ HTTP/1.1", {"X: 1"}),
            refused(400, "no_host")},
        Row{"TwoHosts", post({"Host: b"}), refused(400, "two_hosts")},
        Row{"TwoHostsHttp10", head("GET / HTTP/1.0", {"Host: a", "Host: a"}),
            refused(400, "two_hosts")},
        Row{"HostWithBlank", head("GET / HTTP/1.1", {"Host: a b"}), refused(400, "bad_host")},
        Row{"HostWithSlash", head("GET / HTTP/1.1", {"Host: a/b"}), refused(400, "bad_host")},
        Row{"HostWithUserinfo", head("GET / HTTP/1.1", {"Host: u@a"}), refused(400, "userinfo")},
        Row{"HostPercentEncoded", head("GET / HTTP/1.1", {"Host: %61"}), refused(400, "bad_host")},
        Row{"HostBadPort", head("GET / HTTP/1.1", {"Host: a:70000"}), refused(400, "bad_port")},
        Row{"HostEmptyPort", head("GET / HTTP/1.1", {"Host: a:"}), refused(400, "bad_port")},
        Row{"HostOpenBracket", head("GET / HTTP/1.1", {"Host: [::1"}), refused(400, "bad_host")},
        Row{"AbsoluteFormUserinfo", head("GET http://u:p@a/ HTTP/1.1", {"Host: a"}),
            refused(400, "userinfo")},
        Row{"AbsoluteFormNoHost", head("GET http:///x HTTP/1.1", {"Host: a"}),
            refused(400, "bad_host")},
        Row{"AbsoluteFormOtherScheme", head("GET ftp://a/ HTTP/1.1", {"Host: a"}),
            refused(400, "target_scheme")},
        Row{"AuthorityFormWithoutConnect", head("GET a:80 HTTP/1.1", {"Host: a"}),
            refused(400, "target_form")},
        Row{"AsteriskWithoutOptions", head("GET * HTTP/1.1", {"Host: a"}),
            refused(400, "target_form")},
        Row{"ConnectToPath", head("CONNECT /x HTTP/1.1", {"Host: a"}), refused(400, "bad_host")},
        Row{"ConnectWithoutPort", head("CONNECT a HTTP/1.1", {"Host: a"}),
            refused(400, "bad_port")},
        Row{"FragmentInTarget", head("GET /#x HTTP/1.1", {"Host: a"}), refused(400, "bad_target")},
        Row{"HighByteInTarget", head("GET /\xc3\xa4 HTTP/1.1", {"Host: a"}),
            refused(400, "bad_target")},
        Row{"ControlInTarget", head("GET /\x01 HTTP/1.1", {"Host: a"}), refused(400, "bad_target")},
        Row{"TabInRequestLine", head("GET\t/ HTTP/1.1", {"Host: a"}),
            refused(400, "bad_request_line")},
        Row{"SeveralBlanks", head("GET  / HTTP/1.1", {"Host: a"}), refused(400, "bad_target")},
        Row{"BlankBeforeVersion", head("GET /  HTTP/1.1", {"Host: a"}), refused(400, "bad_target")},
        Row{"BlankAfterVersion", head("GET / HTTP/1.1 ", {"Host: a"}), refused(400, "bad_version")},
        Row{"LeadingBlank", head(" GET / HTTP/1.1", {"Host: a"}), refused(400, "bad_method")},
        Row{"CrInRequestLine", head("GET /\r HTTP/1.1", {"Host: a"}), refused(400, "bad_target")},
        Row{"NulInMethod", head("G\000T / HTTP/1.1"s, {"Host: a"}), refused(400, "bad_method")},
        Row{"LowerCaseMethod", head("get / HTTP/1.1", {"Host: a"}), refused(400, "unknown_method")},
        Row{"UnknownMethod", head("FETCH / HTTP/1.1", {"Host: a"}), refused(400, "unknown_method")},
        Row{"NoVersion", head("GET /", {"Host: a"}), refused(400, "bad_request_line")},
        Row{"Version09", head("GET / HTTP/0.9", {"Host: a"}), refused(505, "version")},
        Row{"Version12", head("GET / HTTP/1.2", {"Host: a"}), refused(505, "version")},
        Row{"Version20", head("GET / HTTP/2.0", {"Host: a"}), refused(505, "version")},
        Row{"VersionLowerCase", head("GET / http/1.1", {"Host: a"}), refused(400, "bad_version")},
        Row{"VersionThreeDigits", head("GET / HTTP/1.10", {"Host: a"}),
            refused(400, "bad_version")},
        Row{"H2Preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refused(505, "h2_preface")},
        Row{"RtspVersion", head("SETUP rtsp://a/ RTSP/1.0", {"Host: a"}),
            refused(400, "bad_version")},
        Row{"RtspMethod", head("SETUP / HTTP/1.1", {"Host: a"}), refused(400, "llhttp_refuses")},
        Row{"TlsHello", "\x16\x03\x01\x02"s, refused(400, "bad_method")},
        Row{"TlsHelloAfterEmptyLine", "\r\n\x16\x03\x01"s, refused(400, "bad_method")},
        Row{"HighByteInMethod", head("GE\xc3T / HTTP/1.1", {"Host: a"}),
            refused(400, "bad_method")},
        Row{"RedisArray", "*1\r\n$4\r\nPING\r\n", refused(400, "bad_request_line")},
        Row{"OnlyAWord", "PING\r\n", refused(400, "bad_request_line")},
        Row{"WordAndLf", "PING\n", refused(400, "bare_lf")},
        Row{"CrBeforeMethod", head("\rGET / HTTP/1.1", {"Host: a"}),
            refused(400, "bad_request_line")},
        Row{"CrInMethod", head("GE\rT / HTTP/1.1", {"Host: a"}), refused(400, "bad_request_line")},
        Row{"LongestMethod", head(std::string(32, 'M') + " / HTTP/1.1", {"Host: a"}),
            refused(400, "unknown_method")},
        Row{"MethodTooLong", std::string(33, 'M'), refused(400, "method_too_long")},
        Row{"ProxyProtocol", "PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n", refused(400, "bad_version")},
        Row{"StartLineBeforeFields", "GET / HTTP/9.9\r\nHost: a\nX: 1\r\n\r\n",
            refused(505, "version")},
        Row{"IceVersion", head("SOURCE / ICE/1.0", {"Host: a"}), refused(400, "bad_version")}),
    row_name);

INSTANTIATE_TEST_SUITE_P(
    ConnectionAndExpect, RefusedRequest,
    testing::Values(Row{"ConnectionNamesHost", post({"Connection: Host"}),
                        refused(400, "connection_names_protected_field")},
                    Row{"ConnectionNamesContentType", post({"Connection: x, content-type"}),
                        refused(400, "connection_names_protected_field")},
                    Row{"ConnectionNamesContentLength",
                        post({"Content-Length: 0", "Connection: content-length"}),
                        refused(400, "connection_names_protected_field")},
                    Row{"ConnectionNamesCookie", post({"Connection: Cookie"}),
                        refused(400, "connection_names_protected_field")},
                    Row{"ConnectionNamesAuthorization", post({"Connection: authorization"}),
                        refused(400, "connection_names_protected_field")},
                    Row{"ConnectionNamesForwardedFor", post({"Connection: x-forwarded-for"}),
                        refused(400, "connection_names_protected_field")},
                    Row{"ConnectionNamesTrace", post({"Connection: traceparent"}),
                        refused(400, "connection_names_protected_field")},
                    Row{"ConnectionNotTokens", post({"Connection: a b"}),
                        refused(400, "bad_connection")},
                    Row{"OtherExpectation", post({"Content-Length: 1", "Expect: 200-ok"}),
                        refused(417, "expectation")},
                    Row{"TwoExpectations",
                        post({"Content-Length: 1", "Expect: 100-continue", "Expect: 100-continue"}),
                        refused(417, "expectation")}),
    row_name);

INSTANTIATE_TEST_SUITE_P(
    Chunks, RefusedRequest,
    testing::Values(
        Row{"SeventeenDigits", chunked("00000000000000005\r\nhello\r\n0\r\n\r\n"),
            broken_body("", "bad_chunk_size")},
        Row{"SizeOverflow", chunked("fffffffffffffffff\r\n"), broken_body("", "bad_chunk_size")},
        Row{"Plus", chunked("+5\r\nhello\r\n"), broken_body("", "bad_chunk_size")},
        Row{"Minus", chunked("-5\r\nhello\r\n"), broken_body("", "bad_chunk_size")},
        Row{"HexPrefix", chunked("0x5\r\nhello\r\n"), broken_body("", "bad_chunk_size")},
        Row{"Underscore", chunked("1_0\r\nhello\r\n"), broken_body("", "bad_chunk_size")},
        Row{"LeadingBlankInSize", chunked(" 5\r\nhello\r\n"), broken_body("", "bad_chunk_size")},
        Row{"TrailingBlankInSize", chunked("5 \r\nhello\r\n"), broken_body("", "bad_chunk_size")},
        Row{"BlankBeforeExtension", chunked("5 ;x\r\nhello\r\n"),
            broken_body("", "bad_chunk_size")},
        Row{"EmptySize", chunked("\r\nhello\r\n"), broken_body("", "bad_chunk_size")},
        Row{"OnlyExtension", chunked(";x\r\nhello\r\n"), broken_body("", "bad_chunk_size")},
        Row{"LfAfterSize", chunked("5\nhello\r\n"), broken_body("", "bad_chunk_size")},
        Row{"CrAfterSize", chunked("5\rXhello\r\n"), broken_body("", "bad_chunk_size")},
        Row{"LfInExtension", chunked("5;x\nhello\r\n"), broken_body("", "bad_chunk_size")},
        Row{"NoCrlfAfterData", chunked("5\r\nhello0\r\n\r\n"),
            broken_body("hello", "bad_chunk_end")},
        Row{"LfAfterData", chunked("5\r\nhello\n0\r\n\r\n"), broken_body("hello", "bad_chunk_end")},
        Row{"DataTooLong", chunked("4\r\nhello\r\n0\r\n\r\n"),
            broken_body("hell", "bad_chunk_end")},
        Row{"TrailerFold", chunked("0\r\nX: 1\r\n 2\r\n\r\n"), broken_body("", "leading_blank")},
        Row{"TrailerBareLf", chunked("0\r\nX: 1\n\r\n"), broken_body("", "bare_lf")},
        Row{"TrailerEndsInLf", chunked("0\r\n\n"), broken_body("", "bare_lf")},
        Row{"TrailerBlankBeforeColon", chunked("0\r\nX : 1\r\n\r\n"),
            broken_body("", "blank_before_colon")},
        Row{"TrailerNul", chunked("0\r\nX: \0\r\n\r\n"s), broken_body("", "bad_field_value")}),
    row_name);

// ---- answers -----------------------------------------------------------------------------------

class RefusedAnswer : public testing::TestWithParam<Row> {};

TEST_P(RefusedAnswer, SameInEveryFeed) {
  FeedOptions options;
  options.role = Role::kClient;
  options.request = get_request();
  EXPECT_EQ(feed_all_ways(GetParam().input, options), GetParam().outcome);
}

std::string answer(const std::vector<std::string>& lines) {
  return head("HTTP/1.1 200 OK", lines);
}

std::string reset(const std::string& detail) {
  return "reset protocol 502 " + detail + "\nwants-close\n";
}

INSTANTIATE_TEST_SUITE_P(
    Framing, RefusedAnswer,
    testing::Values(
        Row{"TeAndCl", answer({"Transfer-Encoding: chunked", "Content-Length: 3"}) + "0\r\n\r\n",
            reset("cl_and_te")},
        Row{"UnknownCoding", answer({"Transfer-Encoding: gzip"}) + "x",
            reset("bad_transfer_encoding")},
        Row{"UnknownBeforeChunked", answer({"Transfer-Encoding: gzip, chunked"}) + "0\r\n\r\n",
            reset("unknown_coding")},
        Row{"TeInHttp10", head("HTTP/1.0 200 OK", {"Transfer-Encoding: chunked"}) + "0\r\n\r\n",
            reset("te_in_http10")},
        Row{"RepeatedCl", answer({"Content-Length: 1", "Content-Length: 1"}) + "x",
            reset("repeated_content_length")},
        Row{"BadCl", answer({"Content-Length: 1x"}) + "x", reset("bad_content_length")},
        Row{"BlankBeforeColon", answer({"Content-Length : 1"}) + "x", reset("blank_before_colon")},
        Row{"ObsFold", answer({"X: 1", " 2", "Content-Length: 0"}), reset("leading_blank")},
        Row{"BareLf", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", reset("bare_lf")},
        Row{"BareCr", answer({"X: 1\r2"}), reset("bad_field_value")},
        Row{"Status99", head("HTTP/1.1 99 Low", {}), reset("bad_status")},
        Row{"Status099", head("HTTP/1.1 099 Low", {}), reset("bad_status")},
        Row{"Status600", head("HTTP/1.1 600 High", {}), reset("bad_status")},
        Row{"StatusFourDigits", head("HTTP/1.1 2000 OK", {}), reset("bad_status")},
        Row{"StatusTwoBlanks", head("HTTP/1.1  200 OK", {}), reset("bad_status")},
        Row{"ControlInReason", head("HTTP/1.1 200 O\x01K", {}), reset("bad_status")},
        Row{"Version20", head("HTTP/2.0 200 OK", {}), reset("version")},
        Row{"NoStatusLine", head("hello", {}), reset("bad_version")},
        Row{"OtherProtocol", "SSH-2.0", reset("bad_version")},
        Row{"StatusLineBeforeFields", "HTTP/1.1 9\r\nX: 1\n\r\n", reset("bad_status")},
        Row{"EmptyLineBefore", "\r\n" + answer({"Content-Length: 0"}), reset("empty_lines")},
        Row{"Switching", head("HTTP/1.1 101 Now", {"Connection: upgrade", "Upgrade: websocket"}),
            reset("unexpected_101")},
        Row{"ConnectionNamesContentType", answer({"Connection: content-type"}),
            reset("connection_names_protected_field")}),
    row_name);

}  // namespace
}  // namespace np::http
