// SPDX-License-Identifier: Apache-2.0
#include "http/head_scanner.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace np::http {
namespace {

HeadScanner::Limits limits() {
  HeadScanner::Limits limits;
  limits.method_bytes_max = 16;
  limits.empty_lines_max = 1;
  limits.start_line_bytes_max = 16;
  limits.field_bytes_max = 16;
  limits.field_count_max = 3;
  return limits;
}

TEST(HeadScanner, FindsTheBlankLine) {
  HeadScanner scanner;
  scanner.begin(limits());
  const std::string head = "\r\nGET /\r\nA: b\r\n\r\n";
  EXPECT_EQ(scanner.scan(head + "body"), ScanResult::kComplete);
  EXPECT_EQ(scanner.start(), 2U);
  EXPECT_EQ(scanner.end(), head.size());
}

TEST(HeadScanner, GoesOnWhereItStopped) {
  HeadScanner scanner;
  scanner.begin(limits());
  const std::string head = "GET /\r\nA: b\r\n\r\n";
  for (size_t size = 0; size < head.size(); ++size) {
    EXPECT_EQ(scanner.scan(head.substr(0, size)), ScanResult::kMore) << size;
  }
  EXPECT_EQ(scanner.scan(head), ScanResult::kComplete);
  EXPECT_EQ(scanner.end(), head.size());
}

TEST(HeadScanner, HeadWithoutFields) {
  HeadScanner scanner;
  scanner.begin(limits());
  EXPECT_EQ(scanner.scan("GET /\r\n\r\n"), ScanResult::kComplete);
}

TEST(HeadScanner, TrailersHaveNoStartLine) {
  HeadScanner::Limits trailers = limits();
  trailers.start_line = HeadScanner::StartLine::kNone;
  HeadScanner scanner;
  scanner.begin(trailers);
  EXPECT_EQ(scanner.scan("\r\nrest"), ScanResult::kComplete);
  EXPECT_EQ(scanner.end(), 2U);
}

TEST(HeadScanner, SizesAreExact) {
  const auto scan = [](const std::string& bytes) {
    HeadScanner scanner;
    scanner.begin(limits());
    return scanner.scan(bytes);
  };
  const std::string x12(12, 'x');
  EXPECT_EQ(scan("x " + x12 + "\r\n\r\n"), ScanResult::kComplete);
  EXPECT_EQ(scan("x " + x12 + "x\r\n\r\n"), ScanResult::kStartLineTooLong);
  EXPECT_EQ(scan("x " + x12 + "xx"), ScanResult::kMore);
  EXPECT_EQ(scan("x " + x12 + "xxx"), ScanResult::kStartLineTooLong);
  EXPECT_EQ(scan("x \r\nxx" + x12 + "\r\n\r\n"), ScanResult::kComplete);
  EXPECT_EQ(scan("x \r\nxx" + x12 + "\r\n\r"), ScanResult::kMore);
  EXPECT_EQ(scan("x \r\nxxx" + x12 + "\r\n\r\n"), ScanResult::kFieldsTooLarge);
  EXPECT_EQ(scan("x \r\na\r\na\r\na\r\n\r\n"), ScanResult::kComplete);
  EXPECT_EQ(scan("x \r\na\r\na\r\na\r\na"), ScanResult::kTooManyFields);
  EXPECT_EQ(scan("\r\n\r\nx \r\n\r\n"), ScanResult::kTooManyEmptyLines);
}

TEST(HeadScanner, BytesThatBeginNoRequestLine) {
  HeadScanner::Limits four = limits();
  four.method_bytes_max = 4;
  const auto scan = [&](std::string_view bytes) {
    HeadScanner scanner;
    scanner.begin(four);
    return scanner.scan(bytes);
  };
  EXPECT_EQ(scan("\x16"), ScanResult::kBadMethod);
  EXPECT_EQ(scan("\r\n\x16"), ScanResult::kBadMethod);
  EXPECT_EQ(scan(" "), ScanResult::kBadMethod);
  EXPECT_EQ(scan("GE\xff"), ScanResult::kBadMethod);
  EXPECT_EQ(scan("GET\t"), ScanResult::kBadRequestLine);
  EXPECT_EQ(scan("PING\r"), ScanResult::kBadRequestLine);
  EXPECT_EQ(scan("\rG"), ScanResult::kBadRequestLine);
  EXPECT_EQ(scan("\r"), ScanResult::kMore);
  EXPECT_EQ(scan("LONG"), ScanResult::kMore);
  EXPECT_EQ(scan("LONG "), ScanResult::kMore);
  EXPECT_EQ(scan("LONGE"), ScanResult::kMethodTooLong);
}

TEST(HeadScanner, BytesThatBeginNoStatusLine) {
  HeadScanner::Limits answers = limits();
  answers.start_line = HeadScanner::StartLine::kStatus;
  const auto scan = [&](std::string_view bytes) {
    HeadScanner scanner;
    scanner.begin(answers);
    return scanner.scan(bytes);
  };
  for (const char* beginning : {"H", "HTTP", "HTTP/", "HTTP/9", "\r"}) {
    EXPECT_EQ(scan(beginning), ScanResult::kMore) << beginning;
  }
  for (const char* beginning : {"h", "HTTPS", "SSH-2.0", "\x15\x03", "\rH"}) {
    EXPECT_EQ(scan(beginning), ScanResult::kBadVersion) << beginning;
  }
  EXPECT_EQ(scan("HT\n"), ScanResult::kBareLf);
}

TEST(HeadScanner, BareLf) {
  const auto scan = [](const std::string& bytes) {
    HeadScanner scanner;
    scanner.begin(limits());
    return scanner.scan(bytes);
  };
  EXPECT_EQ(scan("\nx \r\n\r\n"), ScanResult::kBareLf);
  EXPECT_EQ(scan("x\n\r\n"), ScanResult::kBareLf);
  EXPECT_EQ(scan("x \r\na\n\r\n"), ScanResult::kBareLf);
  EXPECT_EQ(scan("x \r\na\r\n\n"), ScanResult::kBareLf);
}

}  // namespace
}  // namespace np::http
