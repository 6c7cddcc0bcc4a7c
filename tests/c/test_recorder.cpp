// The recorder of examples/rig: disks that fail for a moment, and what it refuses.
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>

#include "../../examples/rig/recorder.hpp"

namespace fs = std::filesystem;

namespace {

#define CHECK(condition)                                                  \
  do {                                                                    \
    if (!(condition)) {                                                   \
      std::printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                       \
    }                                                                     \
  } while (false)

// A new folder, which goes with the object.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "deal-recorder-XXXXXX").string();
    CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  fs::path operator/(const char* name) const { return path_ / name; }
  const fs::path& path() const { return path_; }
  std::set<std::string> frames() const {
    std::set<std::string> found;
    for (const auto& entry : fs::directory_iterator(path_ / "frames")) {
      found.insert(entry.path().filename().string());
    }
    return found;
  }

 private:
  fs::path path_;
};

using Names = std::set<std::string>;

deal_stream_options rules_of(std::int64_t budget) {
  auto rules = deal::make<deal_stream_options>();
  rules.max_frames = budget;
  return rules;
}

// One pick, and what lies up to 5 before it and 2 after; frames may come 5 late.
deal_stream_options with_context() {
  deal_stream_options rules = rules_of(1);
  rules.context_before_ns = 5, rules.context_after_ns = 2, rules.look_ahead_ns = 5;
  return rules;
}

Frame frame_of(const char* id, std::int64_t time, double score) {
  Frame frame;
  frame.id = id;
  frame.jpeg = Bytes(16, static_cast<std::uint8_t>(id[0]));
  frame.timestamp_ns = time;
  frame.score = score;
  return frame;
}

// Files cannot grow beyond this size, as on a full disk.
void limit_files(rlim_t size) {
  rlimit limit{};
  CHECK(::getrlimit(RLIMIT_FSIZE, &limit) == 0);
  limit.rlim_cur = size;
  CHECK(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

template <class Call>
bool fails(Call&& call) {
  try {
    call();
  } catch (const std::system_error&) {
    return true;
  }
  return false;
}

// Its new file waits for the journal, is to go with the eviction, and is wanted after all.
void test_a_frame_is_kept_again_after_the_disk_failed() {
  const Folder folder;
  Recorder recorder(folder.path(), with_context(), "scores");
  limit_files(300);  // the journal has no room for a record
  CHECK(fails([&] { recorder.push(frame_of("pick", 10, 1.0)); }));
  CHECK(fails([&] { recorder.push(frame_of("after", 12, 0.1)); }));
  CHECK(fails([&] { recorder.push(frame_of("late", 9, 2.0)); }));   // "after" is not around it
  CHECK(fails([&] { recorder.push(frame_of("best", 16, 3.0)); }));  // it is around this one
  limit_files(RLIM_INFINITY);
  CHECK(!fails([&] { recorder.end(); }));
  CHECK(folder.frames() == (Names{"after", "best"}));
}

void test_names_are_given_after_one_could_not_be() {
  for (const char* blocked : {"a", "b"}) {
    const Folder folder;
    Recorder recorder(folder.path(), rules_of(3), "scores");
    limit_files(300);
    CHECK(fails([&] { recorder.push(frame_of("a", 0, 1.0)); }));
    CHECK(fails([&] { recorder.push(frame_of("b", 0, 1.0)); }));
    limit_files(RLIM_INFINITY);
    fs::create_directories(folder / "frames" / blocked / "full");
    CHECK(fails([&] { recorder.push(frame_of("c", 0, 1.0)); }));
    fs::remove_all(folder / "frames" / blocked);
    CHECK(!fails([&] { recorder.end(); }));
    CHECK(folder.frames() == (Names{"a", "b", "c"}));
  }
}

void test_a_kept_file_that_is_gone_costs_itself_alone() {
  const Folder folder;
  Recorder recorder(folder.path(), with_context(), "scores");
  recorder.push(frame_of("pick", 10, 1.0));
  recorder.push(frame_of("after", 12, 0.1));
  fs::remove(folder / "frames" / "after");
  CHECK(!fails([&] { recorder.push(frame_of("late", 9, 2.0)); }));
  CHECK(!fails([&] { recorder.push(frame_of("best", 16, 3.0)); }));
  CHECK(!fails([&] { recorder.end(); }));
  CHECK(folder.frames() == (Names{"best"}));
}

template <class Call>
std::string refused(Call&& call) {
  try {
    call();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

void test_a_name_that_no_file_can_have_is_refused_alone() {
  const Folder folder;
  Recorder recorder(folder.path(), rules_of(3), "scores");
  for (const std::string& id : {std::string(252, 'a'), std::string("a/b"), std::string("a.new")}) {
    CHECK(has(refused([&] { recorder.push(frame_of(id.c_str(), 0, 1.0)); }), "rename it"));
    CHECK(recorder.need(id) == Need::kScore);
  }
  recorder.push(frame_of("a", 0, 1.0));
  recorder.end();
  CHECK(folder.frames() == Names{"a"});
}

void test_other_scores_are_refused() {
  const Folder folder;
  const auto open = [&](const char* made_by) { Recorder(folder.path(), rules_of(3), made_by); };
  {
    Recorder recorder(folder.path(), rules_of(3), "entropy");
    recorder.push(frame_of("a", 0, 1.0));
  }
  open("entropy");
  Bytes journal = read_file(folder / "journal.bin");
  journal.insert(journal.end(), {'t', 'o', 'r', 'n'});
  write_synced(folder / "journal.bin", journal.data(), journal.size());
  CHECK(has(refused([&] { open("margin"); }), "choose another folder"));
  CHECK(read_file(folder / "journal.bin") == journal);
}

void test_a_folder_without_a_frame_takes_other_rules_and_scores() {
  const Folder folder;
  {
    Recorder(folder.path(), rules_of(2), "entropy").end();
  }
  write_synced(folder.path() / "frames" / "a.new", "a", 1);  // of a stop before its record
  {
    Recorder recorder(folder.path(), rules_of(1), "margin");
    recorder.push(frame_of("b", 0, 1.0));
    recorder.end();
  }
  CHECK(folder.frames() == Names{"b"});
  CHECK(has(refused([&] { Recorder(folder.path(), rules_of(2), "margin"); }), "other rules"));
}

void test_a_damaged_beginning_is_refused_and_left() {
  const Folder folder;
  const auto open = [&] { return Recorder(folder.path(), rules_of(3), "scores"); };
  {
    Recorder recorder(folder.path(), rules_of(3), "scores");
    recorder.push(frame_of("a", 0, 1.0));
    recorder.end();
  }
  Bytes journal = read_file(folder / "journal.bin");
  journal[100] ^= 1;
  write_synced(folder / "journal.bin", journal.data(), journal.size());
  CHECK(has(refused([&] { open(); }), "damaged at its beginning"));
  CHECK(read_file(folder / "journal.bin") == journal);
  CHECK(folder.frames() == Names{"a"});
}

}  // namespace

int main() {
  ::signal(SIGXFSZ, SIG_IGN);
  test_a_frame_is_kept_again_after_the_disk_failed();
  test_names_are_given_after_one_could_not_be();
  test_a_kept_file_that_is_gone_costs_itself_alone();
  test_a_name_that_no_file_can_have_is_refused_alone();
  test_other_scores_are_refused();
  test_a_folder_without_a_frame_takes_other_rules_and_scores();
  test_a_damaged_beginning_is_refused_and_left();
  std::puts("recorder: 7 tests passed");
}
