// SPDX-License-Identifier: Apache-2.0
// np_syn_flood: as many SYNs as one core can make, from sources that do not exist, to one address
// and port. For measuring what the admission guard costs and saves; sends nothing but to the
// interface it is given, which should be one end of a veth. Prints JSON when it ends.
//
//   np_syn_flood --interface eth0 --to 192.0.2.1:80 --mac 02:00:00:00:00:01 --seconds 5
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

#include "base/address.h"
#include "base/fd.h"
#include "base/result.h"
#include "base/time.h"

namespace np {
namespace {

constexpr size_t kBatch = 64;
constexpr int kQdiscBypass = 20;           // PACKET_QDISC_BYPASS
constexpr uint32_t kSources = 0xc6120000;  // 198.18.0.0/15, which is for measuring
constexpr uint32_t kSourcesMask = 0x1ffff;
constexpr uint16_t kFirstPort = 1024;
constexpr Duration kStep = std::chrono::milliseconds(1);

struct FloodOptions {
  std::string interface;
  SocketAddress to;
  std::array<uint8_t, 6> mac{};
  double seconds = 5;
  uint64_t rate = 0;  // per second; 0: what the core gives
};

struct Frame {
  ether_header ethernet;
  iphdr ip;
  tcphdr tcp;
} __attribute__((packed));

uint32_t sum_words(const void* data, size_t bytes) {
  uint32_t sum = 0;
  const auto* octets = static_cast<const uint8_t*>(data);
  for (size_t i = 0; i + 1 < bytes; i += 2) {
    sum += static_cast<uint32_t>(octets[i] << 8 | octets[i + 1]);
  }
  return sum;
}

uint16_t fold(uint32_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum & 0xffff);
}

class Flood {
 public:
  explicit Flood(const FloodOptions& options) : options_(options) {}
  Result<void> open();
  Result<void> run();

 private:
  void fill_constants(Frame& frame) const;
  void fill(Frame& frame);
  uint32_t next_random() {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 17;
    random_ ^= random_ << 5;
    return random_;
  }

  const FloodOptions options_;
  Fd socket_;
  std::array<Frame, kBatch> frames_{};
  std::array<iovec, kBatch> parts_{};
  std::array<mmsghdr, kBatch> messages_{};
  uint32_t random_ = 2463534242U;
  uint32_t ip_sum_ = 0, tcp_sum_ = 0;  // over what never changes
};

void Flood::fill_constants(Frame& frame) const {
  std::memcpy(frame.ethernet.ether_dhost, options_.mac.data(), options_.mac.size());
  frame.ethernet.ether_shost[0] = 2;
  frame.ethernet.ether_type = htons(ETHERTYPE_IP);
  frame.ip.version = 4;
  frame.ip.ihl = 5;
  frame.ip.tot_len = htons(sizeof(iphdr) + sizeof(tcphdr));
  frame.ip.ttl = 64;
  frame.ip.protocol = IPPROTO_TCP;
  std::memcpy(&frame.ip.daddr, options_.to.ip.bytes.data() + 12, sizeof(frame.ip.daddr));
  frame.tcp.dest = htons(options_.to.port);
  frame.tcp.doff = 5;
  frame.tcp.syn = 1;
  frame.tcp.window = htons(64240);
}

Result<void> Flood::open() {
  socket_.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket_.is_open()) return system_error(errno, "open a packet socket");
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = static_cast<int>(::if_nametoindex(options_.interface.c_str()));
  if (::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return system_error(errno, "use interface " + options_.interface);
  }
  const int on = 1;
  ::setsockopt(socket_.get(), SOL_PACKET, kQdiscBypass, &on, sizeof(on));
  for (size_t i = 0; i < kBatch; ++i) {
    fill_constants(frames_[i]);
    parts_[i] = {&frames_[i], sizeof(Frame)};
    messages_[i].msg_hdr.msg_iov = &parts_[i];
    messages_[i].msg_hdr.msg_iovlen = 1;
  }
  const Frame& frame = frames_[0];
  ip_sum_ = sum_words(&frame.ip, sizeof(iphdr));
  tcp_sum_ = sum_words(&frame.tcp, sizeof(tcphdr)) + sum_words(&frame.ip.daddr, 4) + IPPROTO_TCP +
             sizeof(tcphdr);
  return ok();
}

// Checksums are right: the host must not get rid of a SYN before it has cost what it costs.
void Flood::fill(Frame& frame) {
  const uint32_t source = kSources | (next_random() & kSourcesMask);
  const uint32_t seq = next_random();
  const auto port = static_cast<uint16_t>(kFirstPort + next_random() % (65536 - kFirstPort));
  const uint32_t source_sum = (source >> 16) + (source & 0xffff);
  frame.ip.saddr = htonl(source);
  frame.tcp.source = htons(port);
  frame.tcp.seq = htonl(seq);
  frame.ip.check = htons(fold(ip_sum_ + source_sum));
  frame.tcp.check = htons(fold(tcp_sum_ + source_sum + port + (seq >> 16) + (seq & 0xffff)));
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

Result<void> Flood::run() {
  const Instant begin = monotonic_now();
  const auto length = std::chrono::duration<double>(options_.seconds);
  uint64_t sent = 0, calls_failed = 0;
  double elapsed = 0;
  for (;;) {
    elapsed = std::chrono::duration<double>(monotonic_now() - begin).count();
    if (elapsed >= length.count()) break;
    if (options_.rate != 0 &&
        static_cast<double>(sent) > elapsed * static_cast<double>(options_.rate)) {
      std::this_thread::sleep_for(kStep);
      continue;
    }
    for (Frame& frame : frames_) fill(frame);
    const int done = ::sendmmsg(socket_.get(), messages_.data(), kBatch, 0);
    if (done > 0) {
      sent += static_cast<uint64_t>(done);
    } else if (errno == ENOBUFS || errno == EAGAIN || errno == EINTR) {
      ++calls_failed;
    } else {
      return system_error(errno, "send on " + options_.interface);
    }
  }
  std::printf(
      "{\"sent\": %llu, \"seconds\": %.3f, \"per_second\": %.0f, \"cpu_seconds\": %.3f, "
      "\"calls_failed\": %llu}\n",
      static_cast<unsigned long long>(sent), elapsed, static_cast<double>(sent) / elapsed,
      cpu_seconds(), static_cast<unsigned long long>(calls_failed));
  return ok();
}

bool parse_mac(const std::string& text, std::array<uint8_t, 6>& mac) {
  if (text.size() != 17) return false;
  for (size_t i = 0; i < mac.size(); ++i) {
    const char* at = text.data() + i * 3;
    const auto [stop, problem] = std::from_chars(at, at + 2, mac[i], 16);
    if (problem != std::errc() || stop != at + 2) return false;
  }
  return true;
}

template <typename T>
bool parse_number(const std::string& text, T& value) {
  const char* end = text.data() + text.size();
  return std::from_chars(text.data(), end, value).ptr == end && !text.empty();
}

bool take_option(const std::string& name, const std::string& value, FloodOptions& options) {
  if (name == "--interface") {
    options.interface = value;
    return ::if_nametoindex(value.c_str()) != 0;
  }
  if (name == "--to") {
    const auto address = SocketAddress::parse(value);
    if (!address || !address->ip.is_v4()) return false;
    options.to = *address;
    return true;
  }
  if (name == "--mac") return parse_mac(value, options.mac);
  if (name == "--seconds") return parse_number(value, options.seconds) && options.seconds > 0;
  return name == "--rate" && parse_number(value, options.rate);
}

int flood(int argc, char** argv) {
  FloodOptions options;
  bool is_good = argc % 2 == 1;
  for (int i = 1; is_good && i + 1 < argc; i += 2) {
    is_good = take_option(argv[i], argv[i + 1], options);
  }
  if (!is_good || options.interface.empty() || options.to.port == 0) {
    std::fprintf(stderr,
                 "usage: np_syn_flood --interface NAME --to IPV4:PORT --mac MAC "
                 "[--seconds S] [--rate N]\n");
    return 2;
  }
  Flood flood(options);
  Result<void> result = flood.open();
  if (result) result = flood.run();
  if (result) return 0;
  std::fprintf(stderr, "np_syn_flood: %s\n", result.error().to_string().c_str());
  return 1;
}

}  // namespace
}  // namespace np

int main(int argc, char** argv) {
  return np::flood(argc, argv);
}
