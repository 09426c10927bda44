// SPDX-License-Identifier: Apache-2.0
#include "http/byte_scan.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "http/grammar.h"

namespace np::http {
namespace {

constexpr size_t kSizeMax = 41;  // two blocks of 16, a word, a half word and a byte

// Of its own size, so that the address sanitizer sees what is read behind the end.
size_t good_bytes_of(const std::string& text, const auto& set) {
  const std::unique_ptr<char[]> copy(new char[text.size()]);
  text.copy(copy.get(), text.size());
  return good_bytes(std::string_view(copy.get(), text.size()), set);
}

// Every byte at every place of texts of every size, the rest being `member`.
void expect_first_stranger(const auto& set, char member, const auto& is_member) {
  for (size_t size = 0; size <= kSizeMax; ++size) {
    EXPECT_EQ(good_bytes_of(std::string(size, member), set), size);
    for (size_t at = 0; at < size; ++at) {
      for (int byte = 0; byte < 256; ++byte) {
        std::string text(size, member);
        text[at] = static_cast<char>(byte);
        ASSERT_EQ(good_bytes_of(text, set), is_member(byte) ? size : at)
            << byte << " at " << at << " of " << size;
      }
    }
  }
}

TEST(ByteScan, ValueBytes) {
  expect_first_stranger(ValueBytes(), 'x',
                        [](int byte) { return byte == '\t' || (byte >= 0x20 && byte != 0x7f); });
}

TEST(ByteScan, TokenBytes) {
  const std::string others = "\"(),/:;<=>?@[\\]{}";
  expect_first_stranger(kTokenBytes, 'x', [&](int byte) {
    return byte > 0x20 && byte < 0x7f && others.find(static_cast<char>(byte)) == std::string::npos;
  });
}

TEST(ByteScan, TheFirstOfSeveralStrangersCounts) {
  for (size_t size = 2; size <= kSizeMax; ++size) {
    for (size_t at = 0; at + 1 < size; ++at) {
      std::string text(size, 'x');
      for (size_t i = at; i < size; ++i) text[i] = '\r';
      ASSERT_EQ(good_bytes_of(text, ValueBytes()), at) << size;
      text[size - 1] = 'x';
      ASSERT_EQ(good_bytes_of(text, kTokenBytes), at) << size;
    }
  }
}

TEST(ByteScan, AllBytesOfASet) {
  ByteSet set;
  set.add('\0');
  set.add(0x7f);
  EXPECT_TRUE(set.contains('\0'));
  EXPECT_TRUE(set.contains('\x7f'));
  EXPECT_FALSE(set.contains('\xff'));
  EXPECT_FALSE(set.contains('p'));  // half of it is 0x7f's
  EXPECT_FALSE(set.contains('\x0f'));
  EXPECT_EQ(good_bytes_of(std::string("\0\x7f\0\x7f\0\x7fp", 7), set), 6U);
}

}  // namespace
}  // namespace np::http
