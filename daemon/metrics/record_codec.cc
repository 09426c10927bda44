// SPDX-License-Identifier: Apache-2.0
#include "metrics/record_codec.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

namespace np::metrics {
namespace {

using TextMember = std::string_view RequestTexts::*;
constexpr std::array kTexts = {
    &RequestTexts::method,          &RequestTexts::authority,      &RequestTexts::path,
    &RequestTexts::protocol,        &RequestTexts::user_agent,     &RequestTexts::request_id,
    &RequestTexts::forwarded_for,   &RequestTexts::flags,          &RequestTexts::details,
    &RequestTexts::route,           &RequestTexts::object,         &RequestTexts::cluster,
    &RequestTexts::legacy_cluster,  &RequestTexts::host,           &RequestTexts::subset,
    &RequestTexts::gateway,         &RequestTexts::source_pod,     &RequestTexts::source_namespace,
    &RequestTexts::source_app,      &RequestTexts::source_version, &RequestTexts::source_service,
    &RequestTexts::source_workload, &RequestTexts::endpoint_pod,   &RequestTexts::endpoint_app,
    &RequestTexts::endpoint_version};
constexpr size_t kAddresses = 3;
// A text that is added to RequestTexts must be added above.
static_assert(sizeof(RequestTexts) == kTexts.size() * sizeof(std::string_view) +
                                          (kAddresses * sizeof(SocketAddress) + 7) / 8 * 8);

struct Fixed {
  RecordUse use;
  RequestReport report;
  SocketAddress client, dialled, endpoint;
  std::array<uint16_t, kTexts.size()> sizes;
};
static_assert(std::is_trivially_copyable_v<Fixed>);
static_assert(sizeof(Fixed) + kTexts.size() * kTextBytesMax <= kEncodedBytesMax);

std::string_view cut(std::string_view text) {
  return text.substr(0, kTextBytesMax);
}

}  // namespace

size_t encoded_bytes(const RequestTexts& texts) {
  size_t bytes = sizeof(Fixed);
  for (const TextMember text : kTexts) bytes += cut(texts.*text).size();
  return bytes;
}

void encode(RecordUse use, const RequestReport& report, const RequestTexts& texts, char* out) {
  Fixed fixed{use, report, texts.client, texts.dialled, texts.endpoint, {}};
  char* text_at = out + sizeof(fixed);
  for (size_t i = 0; i < kTexts.size(); ++i) {
    const std::string_view text = cut(texts.*kTexts[i]);
    fixed.sizes[i] = static_cast<uint16_t>(text.size());
    text_at = std::copy(text.begin(), text.end(), text_at);
  }
  std::memcpy(out, &fixed, sizeof(fixed));
}

Record decode(std::string_view bytes) {
  Fixed fixed;
  std::memcpy(&fixed, bytes.data(), sizeof(fixed));
  Record record{fixed.use, fixed.report, {}};
  record.texts.client = fixed.client;
  record.texts.dialled = fixed.dialled;
  record.texts.endpoint = fixed.endpoint;
  bytes.remove_prefix(sizeof(fixed));
  for (size_t i = 0; i < kTexts.size(); ++i) {
    record.texts.*kTexts[i] = bytes.substr(0, fixed.sizes[i]);
    bytes.remove_prefix(fixed.sizes[i]);
  }
  return record;
}

}  // namespace np::metrics
