// SPDX-License-Identifier: Apache-2.0
// RFC 3339 timestamps of expressions.
#include <charconv>

#include "policy/expression.h"

namespace np::policy {

namespace {

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr int64_t kSecondsPerDay = 86'400;

// Exactly `digits` decimal digits at the front of `text`, which it consumes.
std::optional<int64_t> take_digits(std::string_view& text, size_t digits) {
  if (text.size() < digits) return std::nullopt;
  int64_t value = 0;
  for (const char c : text.substr(0, digits)) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  text.remove_prefix(digits);
  return value;
}

bool take_sign(std::string_view& text, char sign) {
  if (!text.starts_with(sign)) return false;
  text.remove_prefix(1);
  return true;
}

// Of the proleptic Gregorian calendar, since 1970; counts years from March, so that the leap day is
// the last of its year.
int64_t days(int64_t year, int64_t month, int64_t day) {
  if (month <= 2) --year;
  const int64_t era = (year >= 0 ? year : year - 399) / 400;
  const int64_t year_of_era = year - era * 400;
  const int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  const int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146'097 + day_of_era - 719'468;
}

int64_t days_in(int64_t year, int64_t month) {
  return (month == 12 ? days(year + 1, 1, 1) : days(year, month + 1, 1)) - days(year, month, 1);
}

// "Z" or "+01:00", in seconds.
std::optional<int64_t> take_offset(std::string_view text) {
  if (text == "Z" || text == "z") return 0;
  const int64_t sign = text.starts_with('-') ? -1 : 1;
  if (!take_sign(text, '+') && !take_sign(text, '-')) return std::nullopt;
  const auto hours = take_digits(text, 2);
  const bool colon = take_sign(text, ':');
  const auto minutes = take_digits(text, 2);
  if (!hours || !colon || !minutes || !text.empty() || *hours > 23 || *minutes > 59) {
    return std::nullopt;
  }
  return sign * (*hours * 3600 + *minutes * 60);
}

}  // namespace

std::optional<int64_t> parse_timestamp(std::string_view text) {
  const auto year = take_digits(text, 4);
  if (!year || !take_sign(text, '-')) return std::nullopt;
  const auto month = take_digits(text, 2);
  if (!month || *month < 1 || *month > 12 || !take_sign(text, '-')) return std::nullopt;
  const auto day = take_digits(text, 2);
  if (!day || *day < 1 || *day > days_in(*year, *month)) return std::nullopt;
  if (!take_sign(text, 'T') && !take_sign(text, 't')) return std::nullopt;
  const auto hour = take_digits(text, 2);
  if (!hour || *hour > 23 || !take_sign(text, ':')) return std::nullopt;
  const auto minute = take_digits(text, 2);
  if (!minute || *minute > 59 || !take_sign(text, ':')) return std::nullopt;
  const auto second = take_digits(text, 2);
  if (!second || *second > 59) return std::nullopt;
  int64_t fraction = 0;
  if (take_sign(text, '.')) {
    int64_t unit = kNanosecondsPerSecond;
    const size_t before = text.size();
    while (const auto digit = take_digits(text, 1)) {
      unit /= 10;
      fraction += *digit * unit;
    }
    if (text.size() == before) return std::nullopt;
  }
  const auto offset = take_offset(text);
  if (!offset) return std::nullopt;
  const int64_t seconds =
      days(*year, *month, *day) * kSecondsPerDay + *hour * 3600 + *minute * 60 + *second - *offset;
  int64_t total = 0;
  if (__builtin_mul_overflow(seconds, kNanosecondsPerSecond, &total) ||
      __builtin_add_overflow(total, fraction, &total)) {
    return std::nullopt;
  }
  return total;
}

}  // namespace np::policy
