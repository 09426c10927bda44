// SPDX-License-Identifier: Apache-2.0
// Spans as the bodies of the two export protocols. Pure functions.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "metrics/span.h"

namespace np::metrics {

// A JSON array of Zipkin v2 (https://zipkin.io/zipkin-api/#/default/post_spans).
std::string zipkin_body(std::span<const KeptSpan> spans);
// An ExportTraceServiceRequest of OTLP/HTTP in its JSON encoding
// (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): one resource per service.
std::string otlp_body(std::span<const KeptSpan> spans);

// Tags by the names that OpenTelemetry's semantic conventions give them.
std::string_view otlp_attribute(std::string_view tag);

}  // namespace np::metrics
