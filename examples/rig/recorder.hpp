// Keeps the frames that a stream selects as files, through power cuts and full disks.
//
// Every frame that is pushed gets a record in the journal. Where decisions follow from it, new
// frames are written beside their final names, then the journal, then evicted files go, then new
// ones get their names. Each step is on disk before the next, so at any moment the journal tells
// which files belong to the kept set, and files with final names are never more than the budget.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <deal.hpp>

#include "journal.hpp"

// A frame that comes from the camera.
struct Frame {
  std::string id;  // the name of its file
  Bytes jpeg;
  double score = 0;
  std::int64_t timestamp_ns = 0;
  deal::Thumbnail signature{};
};

// What a recorder needs of a frame that comes once more after a stop.
enum class Need {
  kNothing,  // it was decided
  kData,     // its file was lost with the memory: give()
  kScore,    // it is new: push()
};

// A kept frame, with the decision that keeps it.
struct Kept {
  std::string id;
  deal_decision decision;
};

class Recorder {
 public:
  // Goes on where the last recorder in the folder stopped, however it stopped. `made_by` is what
  // scores and times come from, in any words. Throws std::runtime_error if another process records
  // there, or the folder was begun with other rules or words, has a damaged journal, or holds files
  // that no trip kept.
  Recorder(const std::filesystem::path& folder, const deal_stream_options& rules,
           const std::string& made_by);

  Need need(const std::string& id) const;
  // These three throw std::system_error where the disk is full or fails. The frame is taken
  // nevertheless and held in memory; the next call tries again to write it. The first two throw
  // std::runtime_error, and change nothing, if no file can have the id as its name.
  void give(const std::string& id, Bytes jpeg);
  void push(Frame frame);
  void end();  // of the trip: decides all that waits

  std::vector<Kept> kept() const;  // the best first
  std::filesystem::path path_of(const std::string& id) const { return frames_ / id; }
  deal_stream_counters counters() const { return stream_.counters(); }
  std::int64_t memory() const noexcept { return stream_.size(); }

 private:
  using Number = std::uint64_t;  // of a frame: the hash of its id, which draws use

  static Number number_of(const std::string& id) { return deal_name_hash(id.data(), id.size()); }
  std::filesystem::path new_path_of(const std::string& id) const;
  bool has_begun() const;
  void replay(const deal_stream_options& rules, const std::string& made_by);
  void bring_in_line();
  void carry_out(const deal_decision& decision);
  void evict(const deal_decision& decision);
  void flush();
  void write_new();
  void remove_evicted();
  void name_new();

  std::filesystem::path folder_, frames_;
  File lock_;
  Journal journal_;
  deal::Stream stream_;
  std::set<Number> before_;                          // frames of an earlier run
  std::set<Number> known_;                           // kept or waiting
  std::map<Number, std::string> names_;              // of the known ones whose id or file is there
  std::map<Number, Bytes> held_;                     // waiting, or not written yet
  std::set<Number> written_;                         // kept, with a file
  std::set<Number> unwritten_;                       // kept, without a file
  std::set<Number> unnamed_;                         // written beside their final names
  std::map<Number, std::filesystem::path> evicted_;  // files to remove
  bool decided_ = false;                             // something that is not on disk yet
};
