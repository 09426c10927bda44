// SPDX-License-Identifier: Apache-2.0
// What offline explain() takes for granted: people keep their rules in files, and services and pods
// in the cluster. Adds to a model the services that its policies name, one endpoint for each set of
// labels that they tell apart, and the caller. Each answer says in words what was assumed. Pure.
#pragma once

#include <string>
#include <vector>

#include "policy/explain_question.h"
#include "policy/model.h"

namespace np::policy {

std::vector<std::string> assume_services(const ExplainQuestion& question, Model& model);
// A pod by the name, or with the labels, that the question gives.
std::vector<std::string> assume_caller(const ExplainQuestion& question, Model& model);

}  // namespace np::policy
