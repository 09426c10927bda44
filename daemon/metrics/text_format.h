// SPDX-License-Identifier: Apache-2.0
// TextFormat: families in the text format of Prometheus 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/), for nodes with many services:
// labels are written once per metric and not once per bucket, numbers without a stream.
#pragma once

#include <prometheus/metric_family.h>

#include <string>
#include <vector>

namespace np::metrics {

void append_text_format(const std::vector<prometheus::MetricFamily>& families, std::string& out);

}  // namespace np::metrics
