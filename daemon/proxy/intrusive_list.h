// SPDX-License-Identifier: Apache-2.0
// IntrusiveList: a doubly linked list through a Link member of its elements. Owns nothing, never
// allocates. One thread.
#pragma once

#include <cstddef>

#include "base/check.h"

namespace np::proxy {

template <typename T>
struct Link {
  T* previous = nullptr;
  T* next = nullptr;
  bool linked = false;
};

template <typename T, Link<T> T::*kMember>
class IntrusiveList {
 public:
  void push_back(T& element) {
    Link<T>& link = element.*kMember;
    NP_DCHECK(!link.linked);
    link = {last_, nullptr, true};
    (last_ != nullptr ? (last_->*kMember).next : first_) = &element;
    last_ = &element;
    ++size_;
  }

  void remove(T& element) {
    Link<T>& link = element.*kMember;
    NP_DCHECK(link.linked);
    (link.previous != nullptr ? (link.previous->*kMember).next : first_) = link.next;
    (link.next != nullptr ? (link.next->*kMember).previous : last_) = link.previous;
    link = {};
    --size_;
  }

  T* front() const { return first_; }
  T* back() const { return last_; }
  T* next(const T& element) const { return (element.*kMember).next; }
  bool empty() const { return first_ == nullptr; }
  size_t size() const { return size_; }

 private:
  T* first_ = nullptr;
  T* last_ = nullptr;
  size_t size_ = 0;
};

}  // namespace np::proxy
