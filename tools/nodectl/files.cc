// SPDX-License-Identifier: Apache-2.0
#include "files.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <system_error>

#include "control/wire.h"

namespace np::nodectl {
namespace {

namespace fs = std::filesystem;

using Stream = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

// The number of bytes that follow a UTF-8 lead byte; -1 when it is none.
int continuation_bytes(unsigned char lead) {
  if (lead < 0x80) return 0;
  if (lead >= 0xc2 && lead <= 0xdf) return 1;
  if (lead >= 0xe0 && lead <= 0xef) return 2;
  if (lead >= 0xf0 && lead <= 0xf4) return 3;
  return -1;
}

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    int more = continuation_bytes(lead);
    if (more < 0) return false;
    // RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
    const auto next = i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
    if ((lead == 0xe0 && next < 0xa0) || (lead == 0xed && next > 0x9f)) return false;
    if ((lead == 0xf0 && next < 0x90) || (lead == 0xf4 && next > 0x8f)) return false;
    for (; more > 0; --more, ++i) {
      if (i >= text.size() || (static_cast<unsigned char>(text[i]) & 0xc0U) != 0x80) return false;
    }
  }
  return true;
}

Result<std::string> read_stream(std::FILE* stream, const std::string& name) {
  std::string text;
  char chunk[65536];
  size_t got = 0;
  while ((got = std::fread(chunk, 1, sizeof(chunk), stream)) > 0) {
    text.append(chunk, got);
    if (text.size() > control::kRequestBytesMax) {
      return Error{ErrorCode::kExhausted, "read " + name, "it is too large", ""};
    }
  }
  if (std::ferror(stream) != 0) return system_error(errno, "read " + name);
  if (!is_utf8(text)) return Error{ErrorCode::kInvalid, "read " + name, "it is not UTF-8", ""};
  return text;
}

Result<std::string> read_file(const std::string& path) {
  const Stream stream(std::fopen(path.c_str(), "rbe"), std::fclose);
  if (stream == nullptr) return system_error(errno, "read " + path);
  return read_stream(stream.get(), path);
}

bool is_policy_file(const fs::path& path) {
  static const std::set<std::string> extensions = {".yaml", ".yml", ".json"};
  return extensions.contains(path.extension().string());
}

Result<std::vector<std::string>> list_directory(const std::string& directory, bool recursive) {
  std::vector<std::string> found;
  std::error_code failure;
  const auto take = [&found](const fs::directory_entry& entry) {
    std::error_code ignored;
    if (entry.is_regular_file(ignored) && is_policy_file(entry.path())) {
      found.push_back(entry.path().string());
    }
  };
  if (recursive) {
    fs::recursive_directory_iterator at(directory, failure);
    for (; !failure && at != fs::recursive_directory_iterator(); at.increment(failure)) take(*at);
  } else {
    fs::directory_iterator at(directory, failure);
    for (; !failure && at != fs::directory_iterator(); at.increment(failure)) take(*at);
  }
  if (failure) {
    return Error{ErrorCode::kSystem, "read directory " + directory, failure.message(), ""};
  }
  if (found.empty()) {
    return Error{ErrorCode::kNotFound, "read directory " + directory,
                 "it holds no .yaml, .yml or .json file",
                 recursive ? "" : "give -R to look below it"};
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

Result<std::vector<InputFile>> read_inputs(const std::vector<std::string>& paths, bool recursive) {
  std::vector<InputFile> inputs;
  for (const std::string& path : paths) {
    if (path == "-") {
      NP_TRY_ASSIGN(std::string text, read_stream(stdin, "<stdin>"));
      inputs.push_back({"<stdin>", std::move(text)});
      continue;
    }
    std::vector<std::string> names = {path};
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) {
      NP_TRY_ASSIGN(names, list_directory(path, recursive));
    }
    for (const std::string& name : names) {
      NP_TRY_ASSIGN(std::string text, read_file(name));
      inputs.push_back({name, std::move(text)});
    }
  }
  return inputs;
}

}  // namespace np::nodectl
