// SPDX-License-Identifier: Apache-2.0
// Addresses as users write them and as the kernel hands them over.
#include "base/address.h"

#include <gtest/gtest.h>

#include <netinet/in.h>
#include <sys/socket.h>
#include <array>

namespace np {
namespace {

TEST(IpAddress, ParsesBothFamiliesAndPrintsThemBack) {
  for (const char* text : {"10.1.2.3", "0.0.0.0", "255.255.255.255", "::", "::1", "fd00::1"}) {
    const auto ip = IpAddress::parse(text);
    ASSERT_TRUE(ip.has_value()) << text;
    EXPECT_EQ(ip->to_string(), text);
  }
  EXPECT_TRUE(IpAddress::parse("10.1.2.3")->is_v4());
  EXPECT_FALSE(IpAddress::parse("fd00::1")->is_v4());
}

TEST(IpAddress, RefusesWhatIsNotAnAddress) {
  for (const char* text :
       {"", "10.1.2", "10.1.2.256", "10.1.2.3 ", "[::1]", "::g", "host", "1.2.3.4/8"}) {
    EXPECT_FALSE(IpAddress::parse(text).has_value()) << text;
  }
  EXPECT_FALSE(IpAddress::parse(std::string(400, '1')).has_value());
}

TEST(IpAddress, V4MappedTextIsTheIpv4Address) {
  EXPECT_EQ(*IpAddress::parse("::ffff:10.0.0.1"), IpAddress::v4(10, 0, 0, 1));
}

TEST(IpAddress, UnspecifiedInBothFamilies) {
  EXPECT_TRUE(IpAddress::parse("0.0.0.0")->is_unspecified());
  EXPECT_TRUE(IpAddress::parse("::")->is_unspecified());
  EXPECT_FALSE(IpAddress::parse("0.0.0.1")->is_unspecified());
}

TEST(SocketAddress, ParsesAndRoundTripsThroughSockaddr) {
  for (const char* text : {"10.1.2.3:80", "[fd00::1]:65535", "0.0.0.0:0"}) {
    const auto address = SocketAddress::parse(text);
    ASSERT_TRUE(address.has_value()) << text;
    EXPECT_EQ(address->to_string(), text);
    sockaddr_storage storage{};
    address->to_sockaddr(&storage);
    EXPECT_EQ(SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage)), *address);
  }
}

TEST(SocketAddress, RefusesMissingPortBracketsAndRange) {
  for (const char* text : {"10.1.2.3", "fd00::1:80x", "[10.1.2.3]:80",
                           "10.1.2.3:", "10.1.2.3:65536", "10.1.2.3:-1", "10.1.2.3: 80", ":80"}) {
    EXPECT_FALSE(SocketAddress::parse(text).has_value()) << text;
  }
}

TEST(IpPrefix, ContainsExactlyItsAddresses) {
  const auto prefix = IpPrefix::parse("10.1.128.0/17");
  ASSERT_TRUE(prefix.has_value());
  EXPECT_TRUE(prefix->contains(*IpAddress::parse("10.1.128.0")));
  EXPECT_TRUE(prefix->contains(*IpAddress::parse("10.1.255.255")));
  EXPECT_FALSE(prefix->contains(*IpAddress::parse("10.1.127.255")));
  EXPECT_FALSE(prefix->contains(*IpAddress::parse("fd00::1")));
  EXPECT_TRUE(IpPrefix::parse("0.0.0.0/0")->contains(*IpAddress::parse("192.0.2.1")));
  EXPECT_FALSE(IpPrefix::parse("0.0.0.0/0")->contains(*IpAddress::parse("fd00::1")));
  EXPECT_EQ(prefix->to_string(), "10.1.128.0/17");
}

TEST(IpPrefix, RefusesHostBitsAndLongLengths) {
  for (const char* text :
       {"10.1.2.3/8", "10.0.0.0/33", "fd00::/129", "fd00::1/64", "10.0.0.0/", "x/8"}) {
    EXPECT_FALSE(IpPrefix::parse(text).has_value()) << text;
  }
  EXPECT_TRUE(IpPrefix::parse("10.1.2.3")->is_single());
}

TEST(IpAddress, TextWithoutHeapUseIsTheSame) {
  std::array<char, IpAddress::kTextBytesMax> buffer;
  for (const char* text : {"10.1.2.3", "255.255.255.255", "::", "fd00::1",
                           "fd00:1111:2222:3333:4444:5555:6666:7777"}) {
    const IpAddress ip = IpAddress::parse(text).value();
    EXPECT_EQ(ip.format(buffer), text);
    EXPECT_EQ(ip.to_string(), text);
  }
  EXPECT_FALSE(IpAddress::parse(std::string_view()));
}

}  // namespace
}  // namespace np
