// SPDX-License-Identifier: Apache-2.0
// apiVersion, kind and metadata: what every object has. Control thread.
#pragma once

#include <optional>
#include <string>

#include "policy/object.h"
#include "policy/yaml_reader.h"

namespace np::policy {

struct Envelope {
  ObjectId id;
  std::string api_version;
  Value metadata;
};

// Reads and checks the envelope, kind and version included. From then on the context names the
// object in every message. Nothing when the object cannot be told from others.
std::optional<Envelope> read_envelope(Fields& root, const std::string& default_namespace);

}  // namespace np::policy
