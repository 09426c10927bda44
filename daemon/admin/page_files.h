// SPDX-License-Identifier: Apache-2.0
// The dashboard's files, which the binary carries (embed_page.cmake): a node needs no other file,
// and the page no network.
#pragma once

#include <span>
#include <string_view>

namespace np::admin {

struct PageFile {
  std::string_view name;  // "index.html"
  std::string_view bytes;
};
std::span<const PageFile> page_files();

}  // namespace np::admin
