// SPDX-License-Identifier: Apache-2.0
#include "control/state_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/log.h"

namespace np::control {
namespace {

constexpr std::string_view kMagic = "NPSTATE1";
constexpr size_t kHeaderBytes = 24;
constexpr off_t kFileBytesMax = off_t{1} << 30;
constexpr const char* kCurrent = "state";
constexpr const char* kPrevious = "state.previous";
constexpr const char* kTemporary = "state.tmp";

// CRC-64 of ECMA-182, reflected: any torn tail or flipped sector changes it.
constexpr std::array<uint64_t, 256> make_crc_table() {
  std::array<uint64_t, 256> table{};
  for (uint64_t i = 0; i < table.size(); ++i) {
    uint64_t crc = i;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc & 1U) != 0 ? (crc >> 1U) ^ 0xc96c5795d7870f42U : crc >> 1U;
    }
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint64_t, 256> kCrcTable = make_crc_table();

uint64_t crc64(uint64_t crc, std::string_view bytes) {
  crc = ~crc;
  for (const char c : bytes) {
    crc = kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xffU] ^ (crc >> 8U);
  }
  return ~crc;
}

void append_u64(std::string& out, uint64_t value) {
  for (unsigned shift = 0; shift < 64; shift += 8) {
    out += static_cast<char>((value >> shift) & 0xffU);
  }
}

uint64_t read_u64(std::string_view bytes) {
  uint64_t value = 0;
  for (unsigned i = 0; i < 8; ++i) {
    value |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return value;
}

uint64_t checksum(std::string_view length_bytes, std::string_view payload) {
  return crc64(crc64(crc64(0, kMagic), length_bytes), payload);
}

Result<void> make_directories(const std::string& path) {
  for (size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    const mode_t mode = at == std::string::npos ? 0700 : 0755;
    if (::mkdir(part.c_str(), mode) != 0 && errno != EEXIST) {
      return system_error(errno, "create state directory " + part);
    }
    if (at == std::string::npos) return ok();
  }
}

Result<void> write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return system_error(errno, "write the state file");
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return ok();
}

// The file's bytes; kNotFound when there is none; kInvalid when it is not a plain file of ours.
Result<std::string> read_all(int directory, const char* name) {
  // O_NOFOLLOW and O_NONBLOCK: a link or a pipe put there must not lead or hold us elsewhere.
  const Fd fd(::openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.is_open()) {
    if (errno == ENOENT) return Error{ErrorCode::kNotFound, name, "", ""};
    if (errno == ELOOP) return Error{ErrorCode::kInvalid, name, "is a symbolic link", ""};
    return system_error(errno, std::string("open ") + name);
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return system_error(errno, std::string("stat ") + name);
  if (!S_ISREG(info.st_mode)) return Error{ErrorCode::kInvalid, name, "is not a plain file", ""};
  if (info.st_size > kFileBytesMax) return Error{ErrorCode::kInvalid, name, "is too large", ""};
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got = ::read(fd.get(), bytes.data() + have, bytes.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error(errno, std::string("read ") + name);
    if (got == 0) break;
    have += static_cast<size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

}  // namespace

std::string encode_state(std::string_view payload) {
  std::string length;
  append_u64(length, payload.size());
  std::string bytes;
  bytes.reserve(kHeaderBytes + payload.size());
  bytes += kMagic;
  bytes += length;
  append_u64(bytes, checksum(length, payload));
  bytes += payload;
  return bytes;
}

std::optional<std::string> decode_state(std::string_view bytes) {
  if (bytes.size() < kHeaderBytes || !bytes.starts_with(kMagic)) return std::nullopt;
  const std::string_view length = bytes.substr(kMagic.size(), 8);
  const std::string_view payload = bytes.substr(kHeaderBytes);
  if (read_u64(length) != payload.size()) return std::nullopt;
  if (read_u64(bytes.substr(16, 8)) != checksum(length, payload)) return std::nullopt;
  return std::string(payload);
}

Result<StateFile> StateFile::open(const std::string& directory) {
  NP_TRY(make_directories(directory));
  Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_open()) return system_error(errno, "open state directory " + directory);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) {
    return system_error(errno, "stat state directory " + directory);
  }
  if (info.st_uid != ::geteuid()) {
    return Error{ErrorCode::kDenied, "use state directory " + directory,
                 "it belongs to uid " + std::to_string(info.st_uid) + ", this process is uid " +
                     std::to_string(::geteuid()),
                 "chown it, or give another with --state-dir"};
  }
  if ((info.st_mode & 07777) != 0700 && ::fchmod(fd.get(), 0700) != 0) {
    return system_error(errno, "make state directory " + directory + " private");
  }
  return StateFile(directory, std::move(fd));
}

Result<StateFile::Loaded> StateFile::load() {
  Loaded loaded;
  for (const char* name : {kCurrent, kPrevious}) {
    auto bytes = read_all(directory_fd_.get(), name);
    if (!bytes && bytes.error().code == ErrorCode::kNotFound) continue;
    if (!bytes && bytes.error().code != ErrorCode::kInvalid) return std::move(bytes).error();
    if (bytes) {
      loaded.payload = decode_state(*bytes);
      if (loaded.payload) return loaded;
    }
    const std::string aside = std::string(name) + ".bad";
    log_error("state: " + directory_ + "/" + name + " is damaged or not ours; kept as " + aside);
    NP_TRY(rename_file(name, aside.c_str(), IfMissing::kError));
    ++loaded.kept_aside;
  }
  return loaded;
}

Result<void> StateFile::save(std::string_view payload) {
  NP_TRY(write_temporary(encode_state(payload)));
  // Between the two renames there is no current file; a reader then takes the previous one, which
  // is the one that was current.
  NP_TRY(rename_file(kCurrent, kPrevious, IfMissing::kFine));
  NP_TRY(rename_file(kTemporary, kCurrent, IfMissing::kError));
  return sync_directory();
}

Result<void> StateFile::write_temporary(std::string_view bytes) {
  if (::unlinkat(directory_fd_.get(), kTemporary, 0) != 0 && errno != ENOENT) {
    return system_error(errno, "remove " + directory_ + "/" + kTemporary);
  }
  const Fd fd(::openat(directory_fd_.get(), kTemporary,
                       O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.is_open()) return system_error(errno, "create " + directory_ + "/" + kTemporary);
  NP_TRY(write_all(fd.get(), bytes));
  if (::fsync(fd.get()) != 0) return system_error(errno, "sync the state file");
  return ok();
}

Result<void> StateFile::rename_file(const char* from, const char* to, IfMissing if_missing) {
  const int directory = directory_fd_.get();
  if (::renameat(directory, from, directory, to) == 0) return ok();
  if (errno == ENOENT && if_missing == IfMissing::kFine) return ok();
  return system_error(errno, "rename " + directory_ + "/" + from + " to " + to);
}

Result<void> StateFile::sync_directory() {
  if (::fsync(directory_fd_.get()) != 0) return system_error(errno, "sync " + directory_);
  return ok();
}

}  // namespace np::control
