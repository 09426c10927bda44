// SPDX-License-Identifier: Apache-2.0
// The target that goes upstream, and the Location of redirects.
#include <gtest/gtest.h>
#include <re2/re2.h>

#include "policy/snapshot.h"

namespace np::policy {
namespace {

struct Rewritten {
  std::string path, authority;
};

class RewriteTest : public ::testing::Test {
 protected:
  RewriteTest() {
    request.method = "GET";
    request.scheme = "http";
    request.authority = "shop.example.com";
    request.port = 80;
  }
  Rewritten rewritten(std::string_view path, size_t matched, std::string_view query = "") {
    request.path = path;
    request.query = query;
    Rewritten out;
    rewrite_request({&route, static_cast<uint32_t>(matched)}, request, out.path, out.authority);
    return out;
  }
  std::string replaced(std::string_view path, size_t matched, std::string replacement) {
    route.rewrite.emplace().uri = std::move(replacement);
    return rewritten(path, matched).path;
  }
  std::string location(std::string_view path = "/a/b", size_t matched = 0,
                       std::string_view query = "x=1") {
    request.path = path;
    request.query = query;
    return redirect_location({&route, static_cast<uint32_t>(matched)}, request);
  }
  Redirect& redirect() {
    route.action = Route::Action::kRedirect;
    return route.redirect.emplace();
  }
  Route route;
  RequestView request;
};

TEST_F(RewriteTest, NothingToRewrite) {
  const Rewritten out = rewritten("/a/b", 2, "x=1");
  EXPECT_EQ(out.path, "/a/b?x=1");
  EXPECT_EQ(out.authority, "shop.example.com");
}

TEST_F(RewriteTest, AppendsToWhatIsThere) {
  std::string path = "GET ";
  std::string authority = "host: ";
  request.path = "/a";
  route.rewrite.emplace().uri = "/b";
  rewrite_request({&route, 2}, request, path, authority);
  EXPECT_EQ(path, "GET /b");
  EXPECT_EQ(authority, "host: shop.example.com");
}

TEST_F(RewriteTest, PrefixAndWholePath) {
  EXPECT_EQ(replaced("/foo/bar", 4, "/xyz"), "/xyz/bar");
  EXPECT_EQ(replaced("/foobar", 4, "/xyz"), "/xyzbar");  // plain prefixes are plain strings
  EXPECT_EQ(replaced("/foo", 4, "/xyz"), "/xyz");
  EXPECT_EQ(replaced("/foo/", 4, "/xyz"), "/xyz/");
  EXPECT_EQ(replaced("/foo/bar", 4, "/xyz/"), "/xyz/bar");
  EXPECT_EQ(replaced("/foo/bar", 4, "/"), "/bar");
  EXPECT_EQ(replaced("/foo/bar", 4, ""), "/bar");
  EXPECT_EQ(replaced("/foo/", 4, ""), "/");
  EXPECT_EQ(replaced("/foo", 4, ""), "/");
  EXPECT_EQ(replaced("/foo", 4, "/"), "/");
  EXPECT_EQ(replaced("/foo/", 4, "/"), "/");
  EXPECT_EQ(replaced("/foo/bar", 8, "/whole"), "/whole");
  EXPECT_EQ(replaced("/foo", 0, "/in"), "/in/foo");
  EXPECT_EQ(replaced("/foo", 4, "bare"), "/bare");
  EXPECT_EQ(replaced("*", 1, "/x"), "*");  // OPTIONS *
}

TEST_F(RewriteTest, QueryStays) {
  route.rewrite.emplace().uri = "/xyz";
  EXPECT_EQ(rewritten("/foo/bar", 4, "a=b").path, "/xyz/bar?a=b");
  route.rewrite->uri = "/xyz?own=1";
  EXPECT_EQ(rewritten("/foo", 4, "a=b").path, "/xyz?own=1&a=b");
}

TEST_F(RewriteTest, Authority) {
  route.rewrite.emplace().authority = "inner.example.com:8080";
  EXPECT_EQ(rewritten("/a", 0).authority, "inner.example.com:8080");
  EXPECT_EQ(rewritten("/a", 0).path, "/a");
}

TEST_F(RewriteTest, Expression) {
  route.rewrite.emplace().regex = "^/service/([^/]+)(/.*)$";
  route.rewrite->regex_substitution = "\\2/instance/\\1";
  route.rewrite_regex = std::make_shared<const re2::RE2>(*route.rewrite->regex);
  EXPECT_EQ(rewritten("/service/foo/v1/api", 0, "q=1").path, "/v1/api/instance/foo?q=1");
  EXPECT_EQ(rewritten("/other", 0).path, "/other");
  route.rewrite->regex_substitution = "evil\r\nX: 1";
  EXPECT_EQ(rewritten("/service/foo/v1", 0).path, "/evilX:1");
}

TEST_F(RewriteTest, NoLineEndsInRewrittenValues) {
  route.rewrite.emplace().uri = "/a\r\nHost: evil";
  route.rewrite->authority = "b\r\nX: y";
  const Rewritten out = rewritten("/foo", 4);
  EXPECT_EQ(out.path.find_first_of("\r\n "), std::string::npos);
  EXPECT_EQ(out.authority.find_first_of("\r\n "), std::string::npos);
}

TEST_F(RewriteTest, RedirectKeepsWhatItDoesNotName) {
  redirect();
  EXPECT_EQ(location(), "http://shop.example.com/a/b?x=1");
  request.authority = "shop.example.com:8080";
  EXPECT_EQ(location(), "http://shop.example.com:8080/a/b?x=1");
}

TEST_F(RewriteTest, RedirectPath) {
  redirect().path = "/new";
  EXPECT_EQ(location(), "http://shop.example.com/new");  // replaces path and query
  redirect().prefix = "/new";
  EXPECT_EQ(location("/a/b", 2), "http://shop.example.com/new/b?x=1");
  EXPECT_EQ(location("/a", 2, ""), "http://shop.example.com/new");
}

TEST_F(RewriteTest, RedirectAuthorityAndPort) {
  redirect().authority = "other.example.com";
  request.authority = "shop.example.com:8080";
  EXPECT_EQ(location("/", 0, ""), "http://other.example.com/");
  redirect().authority = "other.example.com:99";
  EXPECT_EQ(location("/", 0, ""), "http://other.example.com:99/");
  redirect().port = 8443;
  EXPECT_EQ(location("/", 0, ""), "http://shop.example.com:8443/");
  redirect().derive_port = Redirect::DerivePort::kFromProtocolDefault;
  EXPECT_EQ(location("/", 0, ""), "http://shop.example.com/");
  redirect().derive_port = Redirect::DerivePort::kFromRequestPort;
  request.port = 8081;
  EXPECT_EQ(location("/", 0, ""), "http://shop.example.com:8081/");
}

TEST_F(RewriteTest, DefaultPortsAreLeftOut) {
  redirect().scheme = "https";
  EXPECT_EQ(location("/", 0, ""), "https://shop.example.com/");
  route.redirect->port = 443;
  EXPECT_EQ(location("/", 0, ""), "https://shop.example.com/");
  route.redirect->port = 80;
  EXPECT_EQ(location("/", 0, ""), "https://shop.example.com:80/");
  redirect().scheme = "https";
  request.authority = "shop.example.com:80";  // said nothing but "http"
  EXPECT_EQ(location("/", 0, ""), "https://shop.example.com/");
  request.authority = "[2001:db8::1]:80";
  EXPECT_EQ(location("/", 0, ""), "https://[2001:db8::1]/");
  request.authority = "[2001:db8::1]";
  EXPECT_EQ(location("/", 0, ""), "https://[2001:db8::1]/");
}

TEST_F(RewriteTest, LocationIsOneSafeLine) {
  redirect().path = "/x\r\nSet-Cookie: a=b";
  EXPECT_EQ(location(), "http://shop.example.com/xSet-Cookie:a=b");
  redirect();
  EXPECT_EQ(location("/a\r\nb", 0, "c\nd"), "http://shop.example.com/ab?cd");
}

TEST_F(RewriteTest, NoAuthorityNoForeignHost) {
  redirect();
  request.authority = "";
  EXPECT_EQ(location("//evil.example.com/x", 0, ""), "/evil.example.com/x");
  EXPECT_EQ(location("/\\evil.example.com", 0, ""), "/evil.example.com");
  EXPECT_EQ(location("/", 0, ""), "/");
}

}  // namespace
}  // namespace np::policy
