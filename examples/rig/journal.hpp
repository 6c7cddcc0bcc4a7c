// The journal of a recorder: one record per frame, each with its own checksum.
//
// The selector is deterministic, so the frames that were pushed are all there is to store: pushing
// them again gives the same state. The records are those of deal.Recorder in Python
// (deal/rig/journal.py).
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include <deal.hpp>

#include "files.hpp"

enum class Kind : std::int32_t { kRules = 0, kFrame = 1, kEnd = 3 };

struct Record {
  Kind kind = Kind::kFrame;
  deal_stream_frame frame = deal::make<deal_stream_frame>();  // its signature is the one below
  deal::Thumbnail signature{};
  bool is_signed = false;
};

class Journal {
 public:
  // Opens or makes the file, and changes nothing in it. Throws std::runtime_error if records follow
  // a first one that is not whole.
  explicit Journal(const std::filesystem::path& path);

  const std::vector<Record>& found() const noexcept { return found_; }
  // Cuts off what follows the last whole record, as a power cut may leave it: before any is added.
  // Throws std::system_error, as does begin_anew(), which forgets all records, on disk too.
  void cut();
  void begin_anew();
  // Adds a record in memory; write() hands it to the system, sync() waits for the disk. If the disk
  // is full, both throw std::system_error and can be called again.
  void append(const Record& record);
  void write();
  void sync();

 private:
  std::filesystem::path path_;
  File file_;
  std::vector<Record> found_;
  std::int64_t count_ = 0;
  std::vector<Bytes> waiting_;
};
