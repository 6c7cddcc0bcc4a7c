// A rig: frames of a folder in, the best of them out, as they would come from a camera.
//
//   rig MODEL FRAMES OUTPUT --budget N [--max-bytes N] [--min-gap SECONDS] [--near-duplicates T]
//       [--fps F] [--acquisition NAME]
//
// It may be killed at any moment. The same command goes on, and ends with the same files.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <deal.hpp>

#include "files.hpp"
#include "jpeg.hpp"
#include "network.hpp"
#include "recorder.hpp"

namespace fs = std::filesystem;

namespace {

constexpr char kUsage[] =
    "usage: rig MODEL FRAMES OUTPUT --budget N [--max-bytes N] [--min-gap SECONDS]\n"
    "           [--near-duplicates GREY_LEVELS] [--fps F] [--acquisition NAME]\n";

constexpr double kMostSeconds = 9e6;         // of a gap: deal_stream_options takes 2^53 nanoseconds
constexpr double kMostNanoseconds = 0x1p61;  // of a trip: deal_stream_frame takes no more

struct Options {
  std::string model, acquisition = "entropy";
  fs::path frames, output;
  double fps = 10;
  deal_stream_options rules = deal::make<deal_stream_options>();
};

double number(const std::string& name, const char* text) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (*text == '\0' || *end != '\0' || !(value >= 0 && value <= 1e15)) {
    throw std::runtime_error(name + " " + text + ": give a number of at least 0");
  }
  return value;
}

std::int64_t whole(const std::string& name, const char* text) {
  const double value = number(name, text);
  if (value < 1 || value != std::floor(value)) {
    throw std::runtime_error(name + " " + text + ": give a whole number above 0");
  }
  return static_cast<std::int64_t>(value);
}

Options parsed(int count, char** words) {
  Options options;
  std::vector<std::string> places;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word.rfind("--", 0) != 0) {
      places.push_back(word);
      continue;
    }
    if (++i == count) throw std::runtime_error(word + " needs a value");
    deal_stream_options& rules = options.rules;
    if (word == "--acquisition") {
      options.acquisition = words[i];
    } else if (word == "--budget") {
      rules.max_frames = whole(word, words[i]);
    } else if (word == "--max-bytes") {
      rules.max_bytes = whole(word, words[i]);
    } else if (word == "--min-gap") {
      const double seconds = number(word, words[i]);
      if (seconds > kMostSeconds) {
        throw std::runtime_error(word + " " + words[i] + ": 9,000,000 seconds is the most");
      }
      rules.min_gap_ns = std::llround(1e9 * seconds);
    } else if (word == "--near-duplicates") {
      rules.near = DEAL_NEAR_ALL;
      rules.near_threshold = number(word, words[i]);
    } else if (word == "--fps") {
      options.fps = number(word, words[i]);
      if (options.fps == 0 || options.fps > 1e9) {
        throw std::runtime_error(word + " " + words[i] + ": give frames per second, up to 1e9");
      }
    } else {
      throw std::runtime_error(word + " is unknown\n" + kUsage);
    }
  }
  const bool is_any_empty = std::count(places.begin(), places.end(), "") > 0;
  if (places.size() != 3 || is_any_empty || options.rules.max_frames == 0) {
    throw std::runtime_error(kUsage);
  }
  options.model = places[0], options.frames = places[1], options.output = places[2];
  return options;
}

// The JPEG files of a folder, by their names.
std::vector<fs::path> listed(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    std::string suffix = entry.path().extension().string();
    for (char& c : suffix) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (suffix == ".jpg" || suffix == ".jpeg") found.push_back(entry.path());
  }
  if (found.empty()) throw std::runtime_error(folder.string() + " holds no .jpg or .jpeg files");
  std::sort(found.begin(), found.end());
  return found;
}

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string cell = "\"";
  for (const char c : text) cell += c == '"' ? "\"\"" : std::string(1, c);
  return cell + '"';
}

// The shortest decimal that reads back as the same double.
std::string shortest(double value) {
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof text, value).ptr);
}

// What scores and times come from: those of two models, functions or rates do not compare.
std::string source_of(const Options& options) {
  const auto hashed = [](const fs::path& path) {
    const Bytes data = read_file(path);
    return std::to_string(deal_name_hash(reinterpret_cast<const char*>(data.data()), data.size()));
  };
  std::string text = options.acquisition + ' ' + shortest(options.fps) + ' ';
  text += hashed(options.model);
  const fs::path side_car = fs::path(options.model).replace_extension(".json");
  if (fs::exists(side_car)) text += ' ' + hashed(side_car);
  for (const char* name : deal::Model(options.model).weight_files()) {
    text += ' ' + hashed(fs::path(options.model).parent_path() / name);
  }
  return text;
}

// The columns of `deal select`.
void write_selection(const Recorder& recorder, const fs::path& output) {
  std::string text = "rank,id,score,uri,region,polygon,cost,why\n";
  int rank = 0;
  for (const Kept& kept : recorder.kept()) {
    text += std::to_string(++rank) + ',' + quoted(kept.id) + ',' + shortest(kept.decision.score) +
            ',' + quoted(fs::absolute(recorder.path_of(kept.id)).string()) + ",,,1,\n";
  }
  replace_text(output / "selection.csv", text);
}

// Tells a failure of the disk, and goes on: what could not be written is held in memory, and the
// next frame tries again.
template <class Write>
bool tried(Write&& write) {
  try {
    write();
    return true;
  } catch (const std::system_error& error) {
    std::fprintf(stderr, "warning: %s; what is kept so far is safe\n", error.what());
    return false;
  }
}

int run(const Options& options) {
  const std::vector<fs::path> frames = listed(options.frames);
  const double apart = 1e9 / options.fps;  // nanoseconds
  if (!(apart * static_cast<double>(frames.size()) < kMostNanoseconds)) {
    throw std::runtime_error("--fps " + shortest(options.fps) + ": " +
                             std::to_string(frames.size()) +
                             " frames would take 73 years or more: give more frames per second");
  }
  Network network(options.model, options.acquisition);
  Recorder recorder(options.output, options.rules, source_of(options));
  std::size_t failed = 0;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    Frame frame;
    frame.id = frames[i].filename().string();
    const Need need = recorder.need(frame.id);
    if (need == Need::kNothing) continue;
    try {
      frame.jpeg = read_file(frames[i]);
      if (need == Need::kScore) {
        const Image image = decode_jpeg(frame.jpeg);
        frame.score = network.score(image);
        frame.signature = deal::thumbnail(image.rgb.data(), image.height, image.width);
      }
      frame.timestamp_ns = std::llround(apart * static_cast<double>(i));
      tried([&] {
        if (need == Need::kData) return recorder.give(frame.id, std::move(frame.jpeg));
        recorder.push(std::move(frame));
      });
    } catch (const deal::Error&) {  // of the settings: every frame would fail
      throw;
    } catch (const std::runtime_error& error) {  // of the frame; the rig goes on
      std::fprintf(stderr, "warning: %s: %s\n", frames[i].filename().c_str(), error.what());
      ++failed;
    }
  }
  const bool is_whole =
      tried([&] { recorder.end(); }) && tried([&] { write_selection(recorder, options.output); });
  const deal_stream_counters counters = recorder.counters();
  std::printf("%zu of %zu frames kept, %zu failed, %lld not finite; selector: %lld bytes\n",
              recorder.kept().size(), frames.size(), failed,
              static_cast<long long>(counters.not_finite),
              static_cast<long long>(recorder.memory()));
  return is_whole && failed == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** words) {
  try {
    return run(parsed(count, words));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
}
