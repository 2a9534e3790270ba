// What a model's results depend on, as a text: two models of the same text continue each other's states bit for bit.
#pragma once

#include <string>

#include "model/model_impl.h"

namespace bamba {

/// The program's version, the layout of states, the weights' formats and samples of each matrix (LoRA, say, changes
/// matrices only), and how products and scans are computed. Takes the model's turn on its device; a few rows of every
/// matrix are read.
std::string model_identity(BambaModel::Impl& model);

}  // namespace bamba
