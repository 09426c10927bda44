// SPDX-License-Identifier: Apache-2.0
// ExchangeTeller: tells the observer about one Exchange. Stack object; shard thread.
#pragma once

#include "base/request_report.h"
#include "proxy/end_reason.h"

namespace np::proxy {

class Exchange;

class ExchangeTeller final : public ReportSource {
 public:
  ExchangeTeller(Exchange& exchange, EndReason reason) : exchange_(exchange), reason_(reason) {}

  void ended() const;   // its last moment; policy and texts are still there
  void opened() const;  // an opaque connection has reached its endpoint
  // Before a tunnel lets go of its policy: keeps what will be told at its end.
  void keep_texts() const;

  void describe(RequestTexts& texts) const override;

 private:
  RequestReport numbers() const;
  void take_ids(RequestReport& report) const;
  void describe_policy(RequestTexts& texts) const;
  void describe_peers(RequestTexts& texts) const;

  Exchange& exchange_;
  EndReason reason_;
};

}  // namespace np::proxy
