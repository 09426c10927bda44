// SPDX-License-Identifier: Apache-2.0
// What the verb "explain" answers: the explanation of the policy in effect, with what the kernel's
// maps and the shards say at this moment. For the .cc files of the verbs only.
#pragma once

#include "control/arguments.h"
#include "control/controller.h"
#include "policy/explain_question.h"

namespace np::control {

Json view_explanation(const Controller& controller, const Seams& seams,
                      const policy::QuestionText& text);

}  // namespace np::control
