// SPDX-License-Identifier: Apache-2.0
#include "last_of_each.h"

#include <map>

namespace np::nodectl {

std::vector<policy::Object> last_of_each(const std::vector<policy::Object>& objects) {
  std::map<policy::ObjectId, size_t> last;
  for (size_t i = 0; i < objects.size(); ++i) last[objects[i].id] = i;
  std::vector<policy::Object> unique;
  for (size_t i = 0; i < objects.size(); ++i) {
    if (last[objects[i].id] == i) unique.push_back(objects[i]);
  }
  return unique;
}

}  // namespace np::nodectl
