// SPDX-License-Identifier: Apache-2.0
#include "metrics/log_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace np::metrics {
namespace {

class LogFileTest : public ::testing::Test {
 protected:
  LogFileTest() {
    std::string pattern = ::testing::TempDir() + "nodeproxy-log-XXXXXX";
    folder = ::mkdtemp(pattern.data());
    path = folder + "/access.log";
  }
  ~LogFileTest() override { std::filesystem::remove_all(folder); }
  std::unique_ptr<LogFile> open() {
    Result<std::unique_ptr<LogFile>> log = LogFile::open(path);
    EXPECT_TRUE(log.has_value()) << log.error().to_string();
    return log.has_value() ? std::move(*log) : nullptr;
  }
  std::string content() const {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  // What is in the pipe now.
  static std::string take(int fd) {
    std::string text(2 * LogFile::kBufferBytesMax, '\0');
    size_t done = 0;
    for (ssize_t count = 0; (count = ::read(fd, text.data() + done, text.size() - done)) > 0;) {
      done += static_cast<size_t>(count);
    }
    text.resize(done);
    return text;
  }
  std::string folder, path;
};

std::string line(size_t number) {
  std::string text = "line " + std::to_string(number) + " ";
  text.resize(99, '.');
  return text + "\n";
}

TEST_F(LogFileTest, HoldsBackUntilFlush) {
  const auto log = open();
  log->append("one\n");
  log->append("two\n");
  EXPECT_EQ(content(), "");
  EXPECT_EQ(log->written(), 0U);
  log->flush();
  EXPECT_EQ(content(), "one\ntwo\n");
  EXPECT_EQ(log->written(), 2U);
  log->flush();
  EXPECT_EQ(content(), "one\ntwo\n");
}

TEST_F(LogFileTest, WritesByItselfWhenMuchHasCome) {
  const auto log = open();
  const size_t lines = LogFile::kFlushBytes / 100 + 1;
  for (size_t i = 0; i < lines; ++i) log->append(line(i));
  EXPECT_EQ(log->written(), lines);
  EXPECT_EQ(content().size(), lines * 100);
}

TEST_F(LogFileTest, AppendsToWhatIsThere) {
  std::ofstream(path) << "before\n";
  const auto log = open();
  log->append("after\n");
  log->flush();
  EXPECT_EQ(content(), "before\nafter\n");
}

TEST_F(LogFileTest, ANewFileIsNotForEveryone) {
  open();
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07U, 0U);
}

TEST_F(LogFileTest, SurvivesCopyAndTruncate) {
  const auto log = open();
  log->append("old\n");
  log->flush();
  std::filesystem::copy_file(path, path + ".1");
  ASSERT_EQ(::truncate(path.c_str(), 0), 0);
  log->append("new\n");
  log->flush();
  EXPECT_EQ(content(), "new\n") << "and no hole before it";
}

TEST_F(LogFileTest, SaysWhichFileCannotBeOpened) {
  const auto log = LogFile::open(folder + "/missing/access.log");
  ASSERT_FALSE(log.has_value());
  EXPECT_NE(log.error().to_string().find("/missing/access.log"), std::string::npos);
}

// The whole buffer and the pipe's are filled; every line more is lost at once.
TEST_F(LogFileTest, APipeThatNobodyReadsCostsLinesAndNoTime) {
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const Fd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK));
  const auto log = open();
  ASSERT_NE(log, nullptr);
  constexpr size_t kLines = 20'000;  // of 100 bytes
  for (size_t i = 0; i < kLines; ++i) log->append(line(i));
  log->flush();
  EXPECT_GT(log->lost(), 0U);
  const size_t kept = kLines - log->lost();
  EXPECT_GE(kept * 100, LogFile::kBufferBytesMax - 100);
  EXPECT_LE(kept * 100, LogFile::kBufferBytesMax + (size_t{1} << 17U));
  std::string text;
  for (int i = 0; i < 64; ++i) {
    text += take(reader.get());
    log->flush();
  }
  text += take(reader.get());
  EXPECT_EQ(log->written(), kept);
  ASSERT_EQ(text.size(), kept * 100);
  for (size_t i = 0; i < kept; ++i) ASSERT_EQ(text.substr(i * 100, 100), line(i));
  log->append("later\n");
  log->flush();
  EXPECT_EQ(take(reader.get()), "later\n");
}

// A daemon must start although its log's reader does not run yet.
TEST_F(LogFileTest, APipeWithoutAReaderCanBeOpened) {
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const auto log = open();
  ASSERT_NE(log, nullptr);
  log->append("early\n");
  log->flush();
  const Fd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK));
  EXPECT_EQ(take(reader.get()), "early\n");
}

TEST_F(LogFileTest, AReaderThatIsStartedAgainGoesOn) {
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  Fd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK));
  const auto log = open();
  reader.reset();
  log->append("between\n");
  log->flush();
  reader.reset(::open(path.c_str(), O_RDONLY | O_NONBLOCK));
  log->append("again\n");
  log->flush();
  EXPECT_EQ(take(reader.get()), "between\nagain\n");
  EXPECT_EQ(log->written(), 2U);
  ::signal(SIGPIPE, before);
}

TEST_F(LogFileTest, AFullDiskCostsLines) {
  path = "/dev/full";
  const auto log = open();
  ASSERT_NE(log, nullptr);
  for (size_t i = 0; i < 20'000; ++i) log->append(line(i));
  log->flush();
  EXPECT_EQ(log->written(), 0U);
  EXPECT_EQ(log->lost(), 20'000 - LogFile::kBufferBytesMax / 100);
}

}  // namespace
}  // namespace np::metrics
