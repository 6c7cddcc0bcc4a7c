#include "recorder.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <climits>
#include <iterator>
#include <stdexcept>
#include <system_error>
#include <tuple>

namespace fs = std::filesystem;

namespace {

constexpr char kNew[] = ".new";  // what a file's name ends in until the journal knows of it

fs::path made(const fs::path& folder) {
  fs::create_directories(folder / "frames");
  return folder;
}

void check_name(const std::string& id) {
  constexpr std::size_t kMost = NAME_MAX + 1 - sizeof kNew;
  if (id.size() > kMost) {
    throw std::runtime_error("its name takes " + std::to_string(id.size()) + " bytes; " +
                             std::to_string(kMost) + " are possible: rename it");
  }
  const bool is_new = id.size() >= sizeof kNew - 1 &&
                      id.compare(id.size() - (sizeof kNew - 1), sizeof kNew - 1, kNew) == 0;
  if (id.empty() || id == "." || id == ".." || is_new || id.find('/') != std::string::npos) {
    throw std::runtime_error("'" + id + "' cannot be the name of a kept file: rename it");
  }
}

std::uint64_t digest(const deal_stream_options& rules) {
  return deal_name_hash(reinterpret_cast<const char*>(&rules), sizeof rules);
}

}  // namespace

Recorder::Recorder(const fs::path& folder, const deal_stream_options& rules,
                   const std::string& made_by)
    : folder_(made(folder)),
      frames_(folder / "frames"),
      lock_(folder / "lock", O_RDWR | O_CREAT),
      // No two processes may read and cut the journal at a time.
      journal_((::flock(lock_.number(), LOCK_EX | LOCK_NB) == 0
                    ? folder
                    : throw std::runtime_error(folder.string() +
                                               " is recorded into by another process: end it")) /
               "journal.bin"),
      stream_(rules) {
  replay(rules, made_by);
  bring_in_line();
}

// Rules alone bind to nothing; files that were not named yet are of a stop before their records.
bool Recorder::has_begun() const {
  const auto is_frame = [](const Record& record) { return record.kind == Kind::kFrame; };
  const auto is_named = [](const fs::path& path) { return path.extension() != kNew; };
  return std::any_of(journal_.found().begin(), journal_.found().end(), is_frame) ||
         std::any_of(fs::directory_iterator(frames_), fs::directory_iterator(), is_named);
}

void Recorder::replay(const deal_stream_options& rules, const std::string& made_by) {
  const Number source = number_of(made_by);
  const std::vector<Record>& records = journal_.found();
  if (records.empty() && !fs::is_empty(frames_)) {
    // What is not kept is removed: never the files of someone else.
    throw std::runtime_error(frames_.string() +
                             " holds files that no trip kept: choose another folder");
  }
  if (!has_begun()) {
    journal_.begin_anew();
    Record first;
    first.kind = Kind::kRules;
    first.frame.id = digest(rules);
    first.frame.sequence = source;
    journal_.append(first);
    journal_.sync();
  } else if (records.front().kind != Kind::kRules || records.front().frame.id != digest(rules)) {
    throw std::runtime_error(folder_.string() +
                             " was recorded with other rules: choose another folder, or the rules "
                             "that it began with");
  } else if (const Number begun = records.front().frame.sequence; begun != 0 && begun != source) {
    throw std::runtime_error(folder_.string() +
                             " was recorded with scores of another model or function, or times of "
                             "another rate, which do not compare with these: choose another "
                             "folder, or what it began with");
  }
  journal_.cut();
  const auto note = [&](const deal_decision& decision) {
    if (decision.action != DEAL_KEEP && !decision.waiting) known_.erase(decision.id);
  };
  for (const Record& record : records) {
    if (record.kind == Kind::kEnd) {
      stream_.end(note);
    } else if (record.kind == Kind::kFrame && known_.insert(record.frame.id).second) {
      before_.insert(record.frame.id);
      deal_stream_frame frame = record.frame;
      if (record.is_signed) frame.signature = record.signature.data();
      stream_.push(frame, note);
    }
  }
}

// Removes the files that the journal does not keep, and finds those that it does.
void Recorder::bring_in_line() {
  std::set<Number> kept;
  for (const deal_decision& decision : stream_.kept()) kept.insert(decision.id);
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(frames_)) found.push_back(entry.path());
  for (const fs::path& path : found) {
    const bool is_new = path.extension() == kNew;
    const std::string id = (is_new ? path.stem() : path.filename()).string();
    const Number number = number_of(id);
    if (kept.count(number) == 0 || (is_new && fs::exists(path_of(id)))) {
      fs::remove(path);
      continue;
    }
    if (is_new) fs::rename(path, path_of(id));
    names_[number] = id;
    written_.insert(number);
  }
  sync_folder(frames_);
  std::set_difference(kept.begin(), kept.end(), written_.begin(), written_.end(),
                      std::inserter(unwritten_, unwritten_.end()));
}

Need Recorder::need(const std::string& id) const {
  const Number number = number_of(id);
  if (known_.count(number) == 0) return before_.count(number) ? Need::kNothing : Need::kScore;
  const bool is_there = written_.count(number) != 0 || held_.count(number) != 0;
  return is_there ? Need::kNothing : Need::kData;
}

void Recorder::give(const std::string& id, Bytes jpeg) {
  check_name(id);
  const Number number = number_of(id);
  names_[number] = id;
  held_[number] = std::move(jpeg);
  decided_ = decided_ || unwritten_.count(number) != 0;
  flush();
}

void Recorder::push(Frame frame) {
  check_name(frame.id);
  Record record;
  record.frame.id = record.frame.name_hash = number_of(frame.id);
  record.frame.timestamp_ns = frame.timestamp_ns;
  record.frame.bytes = static_cast<std::int64_t>(frame.jpeg.size());
  record.frame.score = frame.score;
  record.signature = frame.signature;
  record.is_signed = true;
  const Number number = record.frame.id;
  known_.insert(number);
  names_[number] = std::move(frame.id);
  held_[number] = std::move(frame.jpeg);
  journal_.append(record);
  record.frame.signature = record.signature.data();
  stream_.push(record.frame, [this](const deal_decision& decision) { carry_out(decision); });
  flush();
}

void Recorder::end() {
  Record record;
  record.kind = Kind::kEnd;
  journal_.append(record);
  stream_.end([this](const deal_decision& decision) { carry_out(decision); });
  decided_ = true;  // the record itself
  flush();
}

void Recorder::carry_out(const deal_decision& decision) {
  decided_ = true;
  if (decision.action == DEAL_KEEP) {
    evicted_.erase(decision.id);  // it was to be removed from a disk that failed
    if (written_.count(decision.id) == 0) unwritten_.insert(decision.id);
    return;
  }
  if (decision.action == DEAL_EVICT) evict(decision);
  if (decision.waiting) return;
  known_.erase(decision.id);
  names_.erase(decision.id);
  held_.erase(decision.id);
}

void Recorder::evict(const deal_decision& decision) {
  unwritten_.erase(decision.id);
  if (unnamed_.erase(decision.id) != 0) evicted_[decision.id] = new_path_of(names_.at(decision.id));
  if (written_.erase(decision.id) == 0) return;
  const fs::path path = path_of(names_.at(decision.id));
  evicted_[decision.id] = path;
  if (!decision.waiting) return;
  try {
    held_[decision.id] = read_file(path);  // it may be kept once more
  } catch (const std::system_error&) {     // lost; it comes again after a restart
  }
}

// Brings the disk to what the stream has decided, in the order that a power cut allows.
void Recorder::flush() {
  if (!decided_) {
    journal_.write();
    return;
  }
  try {
    write_new();
  } catch (const std::system_error&) {  // what is evicted may make room
    journal_.sync();
    remove_evicted();
    write_new();
  }
  journal_.sync();
  remove_evicted();
  name_new();
  decided_ = false;
}

void Recorder::write_new() {
  for (const Number number : unwritten_) {
    const auto data = held_.find(number);
    if (unnamed_.count(number) || data == held_.end()) continue;  // the latter comes again
    write_synced(new_path_of(names_.at(number)), data->second.data(), data->second.size());
    unnamed_.insert(number);
  }
}

void Recorder::remove_evicted() {
  if (evicted_.empty()) return;
  for (const auto& [number, path] : evicted_) fs::remove(path);
  sync_folder(frames_);
  evicted_.clear();
}

void Recorder::name_new() {
  while (!unnamed_.empty()) {  // each is taken out at once: the next may fail
    const Number number = *unnamed_.begin();
    const std::string& id = names_.at(number);
    fs::rename(new_path_of(id), path_of(id));
    unnamed_.erase(number);
    unwritten_.erase(number);
    written_.insert(number);
    held_.erase(number);
  }
  sync_folder(frames_);  // also of names that were given before a call that failed
}

fs::path Recorder::new_path_of(const std::string& id) const { return frames_ / (id + kNew); }

std::vector<Kept> Recorder::kept() const {
  std::vector<Kept> found;
  for (const deal_decision& decision : stream_.kept()) {
    const auto name = names_.find(decision.id);
    found.push_back({name == names_.end() ? "" : name->second, decision});
  }
  std::sort(found.begin(), found.end(), [](const Kept& a, const Kept& b) {
    const auto key = [](const deal_decision& d) {
      return std::make_tuple(d.why != DEAL_WHY_RANKED, -d.key, -d.score, d.arrival);
    };
    return key(a.decision) < key(b.decision);
  });
  return found;
}
