// SPDX-License-Identifier: Apache-2.0
// Requests whose answers say what was asked (Origin's /echo), over a Client.
#pragma once

#include <string>

#include "tests/unit/shard/client.h"

namespace np::test {

inline std::string post(const std::string& body) {
  return "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

// The body of the next answer, which must carry its length; what comes behind it stays in `input`.
inline std::string read_body(Client& client, std::string& input) {
  size_t end = 0;
  while ((end = input.find("\r\n\r\n")) == std::string::npos) {
    const std::string bytes = client.receive();
    if (bytes.empty() || client.last_errno() != 0) return "closed after: " + input;
    input += bytes;
  }
  std::string head = input.substr(0, end + 2);
  for (char& c : head) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  const size_t at = head.find("content-length: ");
  if (head.find(" 200 ") == std::string::npos || at == std::string::npos) return "bad: " + input;
  const size_t length = std::stoul(head.substr(at + 16));
  while (input.size() < end + 4 + length) {
    const std::string bytes = client.receive();
    if (bytes.empty() || client.last_errno() != 0) return "cut: " + input;
    input += bytes;
  }
  const std::string body = input.substr(end + 4, length);
  input.erase(0, end + 4 + length);
  return body;
}

inline std::string ask(Client& client, const std::string& body) {
  std::string input;
  if (!client.send(post(body))) return "send failed";
  return read_body(client, input);
}

}  // namespace np::test
