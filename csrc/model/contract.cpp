#include "model/contract.h"

#include <math.h>

#include <algorithm>
#include <initializer_list>

#include "model/json.h"

namespace deal {
namespace {

using Kind = JsonReader::Kind;

constexpr int64_t kLargestSide = 65535, kLargestInput = int64_t{1} << 28, kMostCells = 1 << 24;

// Reads the values of one source; errors name source, key and remedy.
class Keys {
 public:
  Keys(std::string_view json, const char* source, Contract& contract)
      : json_(json, source), source_(source), c_(contract) {}

  void read() {
    if (json_.kind() != Kind::kObject) {
      fail(DEAL_ERROR_INVALID_ARGUMENT, "%s: a JSON object is expected", source_);
    }
    json_.object([&](const std::string& key) {
      key_ = key.c_str();
      read_key(key);
    });
    json_.end();
  }

 private:
  [[noreturn]] void must(const char* what) const {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%s: %.80s must be %s", source_, key_, what);
  }

  void read_key(const std::string& key) {
    if (key == "format") {
      if (number("1 for this version of deal: upgrade deal or re-export").value != 1.0) {
        must("1 for this version of deal: upgrade deal or re-export");
      }
    } else if (key == "classes") {
      read_classes();
    } else if (key == "palette") {
      read_palette();
    } else if (key == "ignore_index") {
      c_.ignore_index = optional([&] {
        return static_cast<int32_t>(whole(INT32_MIN, INT32_MAX, "a whole number of 32 bits"));
      });
    } else if (key == "input_format") {
      const int which = choice({"rgb8", "bgr8", "float-rgb", "float-bgr"});
      c_.is_float = which >= 2;
      c_.is_bgr = which % 2 == 1;
    } else if (key == "input_layout") {
      c_.input_layout = static_cast<deal_layout>(choice({"nchw", "nhwc"}));
    } else if (key == "output_layout") {
      c_.output_layout = static_cast<deal_layout>(choice({"nchw", "nhwc"}));
    } else if (key == "input_size") {
      c_.input_size = optional([&] { return size(); });
    } else if (key == "size_multiple") {
      c_.size_multiple = whole(1, 4096, "a whole number, 1 to 4096");
    } else if (key == "batch") {
      c_.batch = optional([&] { return whole(1, 4096, "a whole number, 1 to 4096"); });
    } else if (key == "resize") {
      c_.placing = static_cast<deal_placing>(choice({"stretch", "letterbox", "crop", "none"}));
    } else if (key == "pad_value") {
      read_pad_value();
    } else if (key == "pad_position") {
      c_.pad_top_left = choice({"center", "top-left"}) == 1;
    } else if (key == "interpolation") {
      c_.filter =
          static_cast<deal_filter>(choice({"bilinear-antialias", "bicubic-antialias", "nearest"}));
    } else if (key == "mean") {
      c_.mean = optional([&] { return channels(false); });
    } else if (key == "std") {
      c_.std = optional([&] { return channels(true); });
    } else if (key == "align_corners") {
      c_.align_corners = flag();
    } else if (key == "output_kind") {
      c_.probabilities = choice({"logits", "probabilities"}) == 1;
    } else if (key == "activation") {
      c_.sigmoid = choice({"softmax", "sigmoid"}) == 1;
    } else if (key == "difficulty_head") {
      c_.head = optional([&] { return head(); });
    } else if (key == "dropout") {
      read_dropout();
    } else if (key == "precision") {
      c_.precision = optional([&] {
        const char* const names[] = {"fp32", "fp16", "bf16", "int8"};
        return std::string(names[choice({names[0], names[1], names[2], names[3]})]);
      });
    } else if (key == "provenance") {
      read_provenance();
    } else if (key == "output") {
      c_.output = text("a name");
    } else {
      fail(DEAL_ERROR_INVALID_ARGUMENT, "%s: unknown key '%.80s'; upgrade deal, or remove it",
           source_, key.c_str());
    }
  }

  // ---- values ----------------------------------------------------------------------------------

  template <class Read>
  auto optional(Read&& read) -> std::optional<decltype(read())> {
    if (json_.kind() != Kind::kNull) return read();
    json_.skip();
    return std::nullopt;
  }
  JsonReader::Number number(const char* what) {
    if (json_.kind() != Kind::kNumber) must(what);
    return json_.number();
  }
  int64_t whole(int64_t low, int64_t high, const char* what) {
    const JsonReader::Number n = number(what);
    if (!n.whole || n.integer < low || n.integer > high) must(what);
    return n.integer;
  }
  std::string text(const char* what) {
    if (json_.kind() != Kind::kString) must(what);
    std::string found = json_.string();
    if (found.find('\0') != found.npos) must("text without a NUL character");
    return found;
  }
  bool flag() {
    const Kind kind = json_.kind();
    if (kind != Kind::kTrue && kind != Kind::kFalse) must("true or false");
    json_.skip();
    return kind == Kind::kTrue;
  }
  // The number of the name that the text is.
  int choice(std::initializer_list<const char*> names) {
    std::string listed;
    for (const char* name : names) listed += (listed.empty() ? "" : " or ") + std::string(name);
    const std::string given = text(listed.c_str());
    const auto found = std::find(names.begin(), names.end(), given);
    if (found == names.end()) must(listed.c_str());
    return static_cast<int>(found - names.begin());
  }
  template <class Fn>
  void list(const char* what, Fn&& fn) {
    if (json_.kind() != Kind::kArray) must(what);
    json_.array(fn);
  }
  // A list of exactly N.
  template <size_t N, class T, class Read>
  std::array<T, N> listed(const char* what, Read&& read) {
    std::array<T, N> found = {};
    size_t count = 0;
    list(what, [&] {
      if (count == N) must(what);
      found[count++] = read();
    });
    if (count != N) must(what);
    return found;
  }
  std::array<uint8_t, 3> colour(const char* what) {
    return listed<3, uint8_t>(what, [&] { return static_cast<uint8_t>(whole(0, 255, what)); });
  }

  std::pair<int64_t, int64_t> size() {
    const char* const what = "[H, W], both 1 to 65535, of at most 2^28 pixels";
    const auto sides = listed<2, int64_t>(what, [&] { return whole(1, kLargestSide, what); });
    if (sides[0] * sides[1] > kLargestInput) must(what);
    return {sides[0], sides[1]};
  }
  std::array<double, 3> channels(bool positive) {
    const char* const what =
        positive ? "three positive numbers (of 0...1)" : "three numbers (of 0...1)";
    const auto numbers = listed<3, double>(what, [&] { return number(what).value; });
    for (const double n : numbers) {
      if (fabs(n) > 1.5) must("of 0...1: these are for levels 0...255, so divide them by 255");
      if (positive && n <= 0.0) must(what);
    }
    return numbers;
  }

  // ---- keys ------------------------------------------------------------------------------------

  void read_classes() {
    const char* const what = "names, or the number of classes, at most 256";
    c_.classes.clear();
    if (json_.kind() == Kind::kNumber) {
      const int64_t count = whole(1, DEAL_MAX_CLASSES, what);
      for (int64_t i = 0; i < count; ++i) c_.classes.push_back("class_" + std::to_string(i));
      return;
    }
    list(what, [&] {
      if (c_.classes.size() == DEAL_MAX_CLASSES) must(what);
      c_.classes.push_back(text(what));
    });
    if (c_.classes.empty()) must(what);
  }

  void read_palette() {
    const char* const what = "a list of [r, g, b] in 0...255, one per class";
    c_.palette = optional([&] {
      std::vector<std::array<uint8_t, 3>> colours;
      list(what, [&] {
        if (colours.size() == DEAL_MAX_CLASSES) must(what);
        colours.push_back(colour(what));
      });
      return colours;
    });
  }

  void read_pad_value() {
    const char* const what = "a level of 0...255, or three levels for red, green and blue";
    if (json_.kind() == Kind::kNumber) {
      c_.pad_value.fill(static_cast<uint8_t>(whole(0, 255, what)));
    } else {
      c_.pad_value = colour(what);
    }
  }

  void read_dropout() {
    const char* const what = "a list of {\"input\": name, \"channels\": C, \"rate\": 0...1}";
    c_.dropout.clear();
    list(what, [&] {
      ContractDropout layer;
      int known = 0;
      if (json_.kind() != Kind::kObject) must(what);
      json_.object([&](const std::string& key) {
        ++known;
        if (key == "input") {
          layer.input = text(what);
        } else if (key == "channels") {
          layer.channels = whole(1, 65536, what);
        } else if (key == "rate") {
          const JsonReader::Number rate = number(what);
          if (rate.whole || !(rate.value > 0.0 && rate.value < 1.0)) must(what);
          layer.rate = rate.value;
        } else {
          must(what);
        }
      });
      if (known != 3) must(what);
      c_.dropout.push_back(layer);
    });
  }

  std::vector<double> numbers(const char* what) {
    std::vector<double> found;
    list(what, [&] {
      if (found.size() == DEAL_MAX_CLASSES) must("a head of at most 256 classes");
      found.push_back(number(what).value);
    });
    return found;
  }

  ContractHead head() {
    const char* const what =
        "an object with gamma, weight, bias, grid and possibly uncertainty_weight";
    if (json_.kind() != Kind::kObject) must(what);
    ContractHead head;
    bool has_extra = false;
    int needed = 0;
    json_.object([&](const std::string& key) {
      needed += key == "gamma" || key == "bias" || key == "weight" || key == "grid";
      if (key == "gamma") {
        head.gamma = number("an object whose gamma is a number").value;
      } else if (key == "bias") {
        head.bias = number("an object whose bias is a number").value;
      } else if (key == "weight") {
        head.weight = numbers("an object whose weight is a list of numbers");
      } else if (key == "grid") {
        read_grid(head);
      } else if (key == "uncertainty_weight") {
        has_extra = json_.kind() != Kind::kNull;
        if (has_extra) {
          head.uncertainty_weight = numbers("an object whose uncertainty_weight is a list");
        } else {
          json_.skip();
        }
      } else {
        must(what);
      }
    });
    if (needed != 4 || head.weight.empty()) must(what);
    std::vector<double>& extra = head.uncertainty_weight;
    if (has_extra && extra.size() != head.weight.size()) {
      must("a head with as many uncertainty_weight as weight");
    }
    const auto is_zero = [](double u) { return u == 0.0; };
    if (std::all_of(extra.begin(), extra.end(), is_zero)) extra.clear();
    return head;
  }

  void read_grid(ContractHead& head) {
    const char* const what = "a head whose grid is [h, w] of at most 2^24 cells, or null";
    if (json_.kind() == Kind::kNull) {
      json_.skip();
      return;
    }
    const auto sides = listed<2, double>(what, [&] { return number(what).value; });
    for (const double side : sides) {
      if (!(side >= 1.0 && side <= kMostCells) || side != floor(side)) must(what);
    }
    if (sides[0] * sides[1] > kMostCells) must(what);
    head.grid_height = static_cast<int64_t>(sides[0]);
    head.grid_width = static_cast<int64_t>(sides[1]);
  }

  // Any object; of it counts whether the int8 model was made for GPUs.
  void read_provenance() {
    c_.quantised_for_gpu = false;
    if (json_.kind() != Kind::kObject) must("an object");
    json_.object([&](const std::string& key) {
      if (key != "conversion" || json_.kind() != Kind::kObject) {
        json_.skip();
        return;
      }
      json_.object([&](const std::string& fact) {
        if (fact == "target" && json_.kind() == Kind::kString) {
          c_.quantised_for_gpu = json_.string() == "gpu";
        } else {
          json_.skip();
        }
      });
    });
  }

  JsonReader json_;
  const char* source_;
  const char* key_ = "";
  Contract& c_;
};

}  // namespace

void read_contract(std::string_view json, const char* source, Contract& contract) {
  Keys(json, source, contract).read();
}

}  // namespace deal
