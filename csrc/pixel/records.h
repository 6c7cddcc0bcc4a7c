// What is summed of a pixel, where a row is sampled, and sizes that CPU and CUDA code share.
// Plain structs and constants only: this header is included by code of every instruction set.
#pragma once

#include <stdint.h>

namespace deal {

constexpr int kPad = 64;    // buffers may be read and written this many elements past their end
constexpr int kRecord = 8;  // integers a pixel: the order of RecordField
constexpr int kChunkCells = 512;  // cells whose moments are summed as one block, in a fixed order
constexpr int kCommittee = 3;     // integers a pixel of a committee: the order of CommitteeField

enum RecordField {
  kCount,
  kEntropy,
  kMargin,
  kLeastConfidence,
  kDifficulty,
  kDifficultyEntropy,
  kDifficultyMargin,
  kDifficultyLeastConfidence,
};

enum CommitteeField { kVoteEntropy, kMutualInformation, kConsensusEntropy };

// Where the pixels of a row are sampled: row[first] + weight * (row[second] - row[first]).
// Padded by repeating the last pixel.
struct Taps {
  const int32_t* first;
  const int32_t* second;
  const float* weight;
};

}  // namespace deal
