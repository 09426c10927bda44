// SPDX-License-Identifier: Apache-2.0
// FileTree: files of a kernel that a test makes up, below a directory of its own.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "overload/memory_limit.h"

namespace np::overload {

class FileTree {
 public:
  FileTree() {
    std::string name = (std::filesystem::temp_directory_path() / "np-files-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
  }
  ~FileTree() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  FileTree(const FileTree&) = delete;
  FileTree& operator=(const FileTree&) = delete;

  std::string path(const std::string& name) const { return root_ + "/" + name; }
  MemoryFiles files() const { return {path("proc"), path("cgroup")}; }
  void write(const std::string& name, const std::string& text) const {
    const std::filesystem::path file = path(name);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

 private:
  std::string root_;
};

}  // namespace np::overload
