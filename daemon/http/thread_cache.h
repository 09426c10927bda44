// SPDX-License-Identifier: Apache-2.0
// ThreadCache<T>: spare objects of one type, kept per thread for whoever needs the next one. It is
// the allocator of what a message needs only while it lasts: connections that are idle hold none,
// and busy ones allocate nothing once the cache is warm. An object may be given back on another
// thread than it was taken on.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace np::http {

// Codecs of connections that ended, per thread and kind: as many as connect anew in a moment.
inline constexpr size_t kSpareCodecs = 256;

template <typename T, size_t kSpareMax>
class ThreadCache {
 public:
  static std::unique_ptr<T> take() {
    if (List* list = this_thread(); list != nullptr && !list->spare.empty()) {
      std::unique_ptr<T> item = std::move(list->spare.back());
      list->spare.pop_back();
      return item;
    }
    return std::make_unique<T>();
  }

  static void give(std::unique_ptr<T> item) {
    List* list = this_thread();
    if (list != nullptr && list->spare.size() < kSpareMax) list->spare.push_back(std::move(item));
  }

 private:
  struct List {
    List() { spare.reserve(kSpareMax); }
    ~List() { gone = true; }
    std::vector<std::unique_ptr<T>> spare;
  };

  // Null once the thread's own destructors have run: static objects are destroyed after them.
  static List* this_thread() {
    if (gone) return nullptr;
    static thread_local List list;
    return &list;
  }

  static inline thread_local bool gone = false;
};

}  // namespace np::http
