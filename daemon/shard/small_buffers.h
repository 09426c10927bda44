// SPDX-License-Identifier: Apache-2.0
// SmallBuffers: where short pieces wait for their pod's turn, so that thousands of small requests
// in line do not each keep a whole receive buffer. Owns the memory, which grows to its limit and
// never shrinks. Owned by the Transport; shard's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/buffer.h"

namespace np::shard {

class SmallBuffers final : public BufferOwner {
 public:
  static constexpr uint32_t kBytes = 1024;
  static constexpr uint32_t kMax = 16384;  // 16 MiB

  explicit SmallBuffers(uint32_t holders) : held_(holders) {}

  // A copy of at most kBytes, out in the name of `holder`. Null when the holder has as many as are
  // left for everybody.
  BufferRef copy(std::string_view bytes, uint32_t holder);
  void recycle(Buffer* buffer) override;

  uint32_t held(uint32_t holder) const { return held_[holder]; }

 private:
  static constexpr uint32_t kChunk = 256;  // buffers
  struct Chunk {
    std::unique_ptr<char[]> memory;
    std::unique_ptr<Buffer[]> buffers;
  };
  void grow();

  std::vector<Chunk> chunks_;
  std::vector<Buffer*> free_;
  std::vector<uint32_t> held_;
  uint32_t out_ = 0;
};

}  // namespace np::shard
