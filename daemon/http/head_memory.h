// SPDX-License-Identifier: Apache-2.0
// HeadMemory: what one head or trailer section needs while its step lasts: the Head itself, its
// field list and, when it came in pieces, its bytes. Taken from and given back to the thread's
// cache, so that idle connections hold none and busy ones allocate none.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "http/codec.h"

namespace np::http {

struct HeadMemory {
  Head head;
  std::vector<Field> fields;                       // behind head.fields
  std::vector<std::string_view> connection_names;  // fields that Connection asks to remove
  std::string bytes;                               // the section, unless it came in one slice
  std::string target;                              // a target that was not sent in this form
  std::unique_ptr<HeadMemory> next;
};

// A chain of HeadMemory, freed together. Owned by an H1Reader.
class HeadMemoryChain {
 public:
  HeadMemoryChain() = default;
  ~HeadMemoryChain() { release(); }
  HeadMemoryChain(const HeadMemoryChain&) = delete;
  HeadMemoryChain& operator=(const HeadMemoryChain&) = delete;

  static std::unique_ptr<HeadMemory> take();
  static void give(std::unique_ptr<HeadMemory> memory);

  void hold(std::unique_ptr<HeadMemory> memory);
  void release();

 private:
  std::unique_ptr<HeadMemory> first_;
};

}  // namespace np::http
