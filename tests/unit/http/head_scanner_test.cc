// SPDX-License-Identifier: Apache-2.0
#include "http/head_scanner.h"

#include <gtest/gtest.h>

#include <string>

namespace np::http {
namespace {

HeadScanner::Limits limits() {
  HeadScanner::Limits limits;
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
  trailers.has_start_line = false;
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
  EXPECT_EQ(scan(std::string(14, 'x') + "\r\n\r\n"), ScanResult::kComplete);
  EXPECT_EQ(scan(std::string(15, 'x') + "\r\n\r\n"), ScanResult::kStartLineTooLong);
  EXPECT_EQ(scan(std::string(16, 'x')), ScanResult::kMore);
  EXPECT_EQ(scan(std::string(17, 'x')), ScanResult::kStartLineTooLong);
  EXPECT_EQ(scan("x\r\n" + std::string(14, 'x') + "\r\n\r\n"), ScanResult::kComplete);
  EXPECT_EQ(scan("x\r\n" + std::string(14, 'x') + "\r\n\r"), ScanResult::kMore);
  EXPECT_EQ(scan("x\r\n" + std::string(15, 'x') + "\r\n\r\n"), ScanResult::kFieldsTooLarge);
  EXPECT_EQ(scan("x\r\na\r\na\r\na\r\n\r\n"), ScanResult::kComplete);
  EXPECT_EQ(scan("x\r\na\r\na\r\na\r\na"), ScanResult::kTooManyFields);
  EXPECT_EQ(scan("\r\n\r\nx\r\n\r\n"), ScanResult::kTooManyEmptyLines);
}

TEST(HeadScanner, BareLf) {
  const auto scan = [](const std::string& bytes) {
    HeadScanner scanner;
    scanner.begin(limits());
    return scanner.scan(bytes);
  };
  EXPECT_EQ(scan("\nx\r\n\r\n"), ScanResult::kBareLf);
  EXPECT_EQ(scan("x\n\r\n"), ScanResult::kBareLf);
  EXPECT_EQ(scan("x\r\na\n\r\n"), ScanResult::kBareLf);
  EXPECT_EQ(scan("x\r\na\r\n\n"), ScanResult::kBareLf);
}

}  // namespace
}  // namespace np::http
