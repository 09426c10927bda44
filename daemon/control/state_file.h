// SPDX-License-Identifier: Apache-2.0
// StateFile: durable bytes in the state directory (0700). A write goes to a temporary file, is
// synced, and renamed over; the file before it stays as the previous generation. A reader gets a
// whole file that was once saved, or nothing: a torn or foreign file fails its checksum, is kept
// aside as NAME.bad, and the previous generation is read instead. Control thread only.
//
//   state   "NPSTATE1", length (8 bytes, little endian), CRC-64 of all the rest, payload
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace np::control {

// The file format, on its own for tests.
std::string encode_state(std::string_view payload);
std::optional<std::string> decode_state(std::string_view bytes);

class StateFile {
 public:
  // Creates `directory` (and its parents) when missing, and makes it 0700. It must belong to this
  // process's user.
  static Result<StateFile> open(const std::string& directory);

  // The newest good generation; empty when there has never been one. `kept_aside` counts files
  // that were not good, each of which is logged.
  struct Loaded {
    std::optional<std::string> payload;
    int kept_aside = 0;
  };
  Result<Loaded> load();

  // Returns once `payload` would survive a power cut. On failure the files still hold a generation
  // that was saved earlier.
  Result<void> save(std::string_view payload);

  const std::string& directory() const { return directory_; }

 private:
  StateFile(std::string directory, Fd fd)
      : directory_(std::move(directory)), directory_fd_(std::move(fd)) {}
  Result<void> write_temporary(std::string_view bytes);
  enum class IfMissing : uint8_t { kFine, kError };
  Result<void> rename_file(const char* from, const char* to, IfMissing if_missing);
  Result<void> sync_directory();

  std::string directory_;
  Fd directory_fd_;
};

}  // namespace np::control
