// SPDX-License-Identifier: Apache-2.0
// Result<T>: a value or an Error. A small subset of std::expected's interface, because g++ 12 has
// std::expected only in C++23 mode and clang 14 not at all. Any thread; no allocation on success.
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace np {

enum class ErrorCode : uint8_t {
  kInvalid,      // the input is wrong: the message says what was found and what is allowed
  kNotFound,     // a named thing does not exist
  kConflict,     // it exists already, or another object claims the same thing
  kUnsupported,  // this kernel, build or version cannot do it
  kDenied,       // the operating system or a policy refused
  kExhausted,    // a limit was reached
  kSystem,       // a system call failed
};

// What went wrong in the environment or in a person's input. Peer behaviour is never an Error: it
// is an EndReason (docs/exchange.md).
struct Error {
  ErrorCode code = ErrorCode::kSystem;
  std::string what;    // what we did, for example "open /run/nodeproxy/control.sock"
  std::string detail;  // why it failed, for example "Permission denied"
  std::string hint;    // what the person can do about it; may be empty

  // "what: detail (hint)" on one line.
  std::string to_string() const;
};

// An Error of kind kSystem whose detail is the text of `errno_value`.
Error system_error(int errno_value, std::string what, std::string hint = {});

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool has_value() const { return std::holds_alternative<T>(state_); }
  explicit operator bool() const { return has_value(); }

  T& value() & {
    NP_CHECK(has_value());
    return std::get<T>(state_);
  }
  const T& value() const& {
    NP_CHECK(has_value());
    return std::get<T>(state_);
  }
  T&& value() && {
    NP_CHECK(has_value());
    return std::get<T>(std::move(state_));
  }
  const Error& error() const& {
    NP_CHECK(!has_value());
    return std::get<Error>(state_);
  }
  Error&& error() && {
    NP_CHECK(!has_value());
    return std::get<Error>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error)  // NOLINT(google-explicit-constructor)
      : error_(std::move(error)), failed_(true) {}

  bool has_value() const { return !failed_; }
  explicit operator bool() const { return has_value(); }
  const Error& error() const& {
    NP_CHECK(failed_);
    return error_;
  }
  Error&& error() && {
    NP_CHECK(failed_);
    return std::move(error_);
  }

 private:
  Error error_;
  bool failed_ = false;
};

inline Result<void> ok() {
  return {};
}

}  // namespace np

#define NP_CONCAT_INNER(a, b) a##b
#define NP_CONCAT(a, b) NP_CONCAT_INNER(a, b)

// Evaluates a Result; on failure returns its Error from the enclosing function.
#define NP_TRY(expression)                                       \
  do {                                                           \
    auto np_try_result = (expression);                           \
    if (!np_try_result) return std::move(np_try_result).error(); \
  } while (false)

// NP_TRY_ASSIGN(auto fd, open_it()): declares the value, or returns the Error.
#define NP_TRY_ASSIGN(declaration, expression) \
  NP_TRY_ASSIGN_INNER(NP_CONCAT(np_result_, __LINE__), declaration, expression)
#define NP_TRY_ASSIGN_INNER(result, declaration, expression) \
  auto result = (expression);                                \
  if (!result) return std::move(result).error();             \
  declaration = std::move(result).value()
