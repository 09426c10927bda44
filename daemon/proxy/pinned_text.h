// SPDX-License-Identifier: Apache-2.0
// PinnedTexts: bytes of a policy, such as the body of a direct response, as slices that an output
// queue may keep: a client that does not read its megabyte costs no copy of it. Each slice keeps
// its snapshot alive. Owned by the Core; one thread.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/buffer.h"

namespace np::proxy {

class Core;
struct SnapshotPin;

class PinnedTexts : public BufferOwner {
 public:
  explicit PinnedTexts(Core& core) : core_(core) {}

  // `text` lies in the pinned snapshot.
  Slice slice(SnapshotPin* pin, std::string_view text);
  void recycle(Buffer* buffer) override;

 private:
  struct PinnedBuffer : Buffer {
    SnapshotPin* pin = nullptr;
  };
  Core& core_;
  std::vector<std::unique_ptr<PinnedBuffer>> spare_;
};

}  // namespace np::proxy
