// SPDX-License-Identifier: Apache-2.0
// What an Exchange goes through and what it is told. Plain values, valid during one step.
#pragma once

#include <cstddef>
#include <cstdint>

#include "http/codec.h"
#include "proxy/end_reason.h"

namespace np::proxy {

struct Connection;

enum class Phase : uint8_t { kDecide, kDelay, kAcquire, kExchange, kFinish };

// Legal changes, row = from. docs/exchange.md holds the same table for people.
inline constexpr bool kPhaseTransitions[5][5] = {
    /*              decide delay  acquire exchange finish */
    /* decide   */ {false, true, true, false, true},
    /* delay    */ {false, false, true, false, true},
    /* acquire  */ {false, false, true, true, true},
    /* exchange */ {false, false, true, false, true},
    /* finish   */ {false, false, false, false, false},
};

enum class ExchangeTimer : uint8_t { kPhase, kRoute, kTry, kIdle };
inline constexpr size_t kExchangeTimerCount = 4;

struct ExchangeEvent {
  enum class Kind : uint8_t {
    kDownstream,      // `stream` from the client's connection
    kDownstreamLost,  // the client's connection failed
    kDownstreamDone,  // the client sent FIN: it asks for nothing more, and may have left
    kUpstream,        // `stream` from the endpoint's connection
    kUpstreamLost,    // the endpoint's connection failed
    kAcquired,        // `connection` is ours
    kAcquireFailed,   // no connection: `reason`
    kDeadline,        // `timer` was reached
    kMail,            // what it waited for, with other shards, has come
    kRoom,            // a connection took bytes: there may be room to go on
    kOverload,        // it holds more memory than others, and there is none left
  };
  Kind kind = Kind::kRoom;
  const http::StreamEvent* stream = nullptr;
  const BufferRef* owner = nullptr;  // of stream->data
  Connection* connection = nullptr;
  EndReason reason = EndReason::kConnectFailed;
  bool is_ours = false;  // kAcquireFailed: the endpoint has no part in it
  ExchangeTimer timer = ExchangeTimer::kPhase;
};

}  // namespace np::proxy
