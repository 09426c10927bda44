// SPDX-License-Identifier: Apache-2.0
// A state file that was cut, changed or never ours is not read as policy: what is read is always a
// generation that was once saved, or nothing.
#include "control/state_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "control/state_codec.h"
#include "tests/unit/control/fakes.h"

namespace np::control {
namespace {

namespace fs = std::filesystem;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << bytes;
}

class StateFileTest : public ::testing::Test {
 protected:
  StateFile open() {
    auto opened = StateFile::open(directory());
    EXPECT_TRUE(opened);
    return std::move(opened).value();
  }
  std::string directory() const { return temporary_.path() + "/state"; }
  std::string current() const { return directory() + "/state"; }
  std::string previous() const { return directory() + "/state.previous"; }

  TemporaryDirectory temporary_;
};

TEST_F(StateFileTest, ANewDirectoryIsPrivateAndEmpty) {
  StateFile file = open();
  struct stat info {};
  ASSERT_EQ(::stat(directory().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777U, 0700U);
  auto loaded = file.load();
  ASSERT_TRUE(loaded);
  EXPECT_FALSE(loaded->payload.has_value());
  EXPECT_EQ(loaded->kept_aside, 0);
}

TEST_F(StateFileTest, AnOpenDirectoryIsMadePrivate) {
  fs::create_directory(directory());
  ::chmod(directory().c_str(), 0755);
  (void)open();
  struct stat info {};
  ASSERT_EQ(::stat(directory().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777U, 0700U);
}

TEST_F(StateFileTest, WhatWasSavedIsLoaded) {
  const std::string payload("with a zero \0 inside", 20);
  ASSERT_TRUE(open().save(payload));
  auto loaded = open().load();
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->payload, payload);
}

TEST_F(StateFileTest, TheLastTwoGenerationsAreKept) {
  StateFile file = open();
  for (const char* text : {"one", "two", "three"}) ASSERT_TRUE(file.save(text));
  EXPECT_EQ(decode_state(read_file(current())), "three");
  EXPECT_EQ(decode_state(read_file(previous())), "two");
}

TEST_F(StateFileTest, TornAtEveryByteTheGenerationBeforeIsRead) {
  ASSERT_TRUE(open().save("the old generation"));
  ASSERT_TRUE(open().save("the new generation"));
  const std::string whole = read_file(current());
  const std::string old = read_file(previous());
  for (size_t length = 0; length < whole.size(); ++length) {
    write_file(current(), whole.substr(0, length));
    write_file(previous(), old);
    auto loaded = open().load();
    ASSERT_TRUE(loaded);
    ASSERT_EQ(loaded->payload, "the old generation") << "cut after " << length << " bytes";
    ASSERT_EQ(loaded->kept_aside, 1);
    ASSERT_EQ(read_file(current() + ".bad"), whole.substr(0, length));
  }
}

TEST_F(StateFileTest, EveryFlippedBitIsNoticed) {
  const std::string whole = encode_state("some policy");
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] =
        static_cast<char>(static_cast<unsigned char>(flipped[bit / 8]) ^ (1U << (bit % 8)));
    ASSERT_FALSE(decode_state(flipped).has_value()) << "bit " << bit;
  }
  EXPECT_FALSE(decode_state(whole + "x").has_value());
}

// A crash between any two steps of save(): the temporary file at every length, and the moment
// between the renames.
TEST_F(StateFileTest, ACrashWhileSavingLeavesTheOldGeneration) {
  ASSERT_TRUE(open().save("old"));
  const std::string next = encode_state("new");
  for (size_t length = 0; length <= next.size(); ++length) {
    write_file(directory() + "/state.tmp", next.substr(0, length));
    ASSERT_EQ(open().load()->payload, "old");
  }
  fs::rename(current(), previous());
  EXPECT_EQ(open().load()->payload, "old");
  ASSERT_TRUE(open().save("newer"));
  EXPECT_EQ(open().load()->payload, "newer");
  EXPECT_EQ(decode_state(read_file(previous())), "old");
}

TEST_F(StateFileTest, ForeignFilesAreKeptAsideAndNothingIsRead) {
  fs::create_directory(directory());
  write_file(current(), "apiVersion: v1\nkind: Service\n");
  fs::create_symlink("/etc/hostname", previous());
  auto loaded = open().load();
  ASSERT_TRUE(loaded);
  EXPECT_FALSE(loaded->payload.has_value());
  EXPECT_EQ(loaded->kept_aside, 2);
  EXPECT_TRUE(fs::exists(current() + ".bad"));
  EXPECT_TRUE(fs::is_symlink(previous() + ".bad"));
  EXPECT_FALSE(fs::exists(current()));
}

TEST_F(StateFileTest, ADirectoryInThePlaceOfAFileDoesNotStopTheStart) {
  fs::create_directories(current());
  auto loaded = open().load();
  ASSERT_TRUE(loaded);
  EXPECT_FALSE(loaded->payload.has_value());
}

TEST_F(StateFileTest, SomebodyElsesDirectoryIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can make a directory of another user";
  fs::create_directory(directory());
  ASSERT_EQ(::chown(directory().c_str(), 12345, 12345), 0);
  auto opened = StateFile::open(directory());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kDenied);
}

TEST(StateCodec, RoundTrip) {
  SavedState state;
  state.generation = 5;
  state.next_sequence = 9;
  policy::Object object;
  object.id = {"config.istio.io", "RouteRule", "default", "a"};
  object.api_version = "config.istio.io/v1alpha2";
  object.text = "kind: RouteRule # \"kept\" \xc3\xa9\n";
  object.file = "a.yaml";
  object.line = 3;
  object.sequence = 8;
  object.generation = 2;
  object.created_unix_ns = 1'700'000'000'123'456'789;
  state.objects.push_back(object);
  state.pods.push_back({"default", "p", {*IpAddress::parse("10.0.0.1")}, "v0", {{"k", "v"}}, true});
  auto parsed = parse_saved_state(to_json_text(state));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->generation, 5U);
  EXPECT_EQ(parsed->next_sequence, 9U);
  ASSERT_EQ(parsed->objects.size(), 1U);
  EXPECT_EQ(parsed->objects[0].id, object.id);
  EXPECT_EQ(parsed->objects[0].text, object.text);
  EXPECT_EQ(parsed->objects[0].created_unix_ns, object.created_unix_ns);
  EXPECT_EQ(parsed->pods, state.pods);
}

TEST(StateCodec, WhatIsNotOursIsAnErrorNotACrash) {
  for (const char* text : {"", "[]", "{}", R"({"format":2})", R"({"format":"1"})",
                           R"({"format":1,"generation":1,"next_sequence":1,"objects":[{}]})"}) {
    EXPECT_FALSE(parse_saved_state(text)) << text;
  }
}

}  // namespace
}  // namespace np::control
