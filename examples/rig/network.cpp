#include "network.hpp"

#include <stdexcept>
#include <utility>

namespace {

deal_context_options one_thread() {
  auto options = deal::make<deal_context_options>();
  options.threads = 1;  // the other cores belong to the rig's own work
  return options;
}

[[noreturn]] void refuse(const std::string& what) { throw std::runtime_error(what); }

// The model, if it is one that this example can run.
deal::Model simple(deal::Model&& read) {
  const deal_model& model = read.get();
  if (model.input_dtype != DEAL_UINT8 && model.input_dtype != DEAL_FLOAT32) {
    refuse("the network takes neither uint8 nor float32: export it with such an input");
  }
  if (model.output_dtype != DEAL_FLOAT32 || model.probabilities || model.sigmoid) {
    refuse("the network does not give float32 logits of each class: export it without softmax");
  }
  if (model.dropouts > 0) refuse("the network has inputs besides the image: export it without");
  if (model.difficulty_name != nullptr) {
    refuse("the network computes its difficulty itself, which this example does not read");
  }
  if (model.placing != DEAL_PLACE_STRETCH && model.placing != DEAL_PLACE_NONE) {
    refuse("the network wants boxed or cropped images, which this example does not make");
  }
  return std::move(read);
}

// The image at the size that the network takes, with the bits that deal gives it.
Image as_taken(const Image& image, const deal_model& model) {
  const bool is_any = model.input_height == 0;
  const bool fits =
      is_any ? image.height % model.size_multiple == 0 && image.width % model.size_multiple == 0
             : image.height == model.input_height && image.width == model.input_width;
  if (fits) return image;
  if (is_any || model.placing == DEAL_PLACE_NONE) {
    refuse("the network does not take frames of " + std::to_string(image.height) + "x" +
           std::to_string(image.width) + ": let the camera deliver another size");
  }
  Image made{model.input_height, model.input_width, {}};
  made.rgb.resize(static_cast<std::size_t>(3 * made.height * made.width));
  deal::check(deal_resize(image.rgb.data(), nullptr, image.height, image.width, model.filter,
                          made.rgb.data(), made.height, made.width));
  return made;
}

}  // namespace

Network::Network(const std::string& model, const std::string& acquisition)
    : model_(simple(deal::Model(model))),
      runtime_(model, model_),
      context_(one_thread()),
      acquisition_(deal::acquisition(acquisition.c_str())) {
  // What the acquisition functions read, of a batch of one.
  const auto classes = static_cast<std::size_t>(model_->classes);
  acquisition_.classes = model_->classes;
  counts_.resize(5 + 3 * DEAL_HISTOGRAM_LEVELS + classes);
  std::int64_t* count = counts_.data();
  const auto take = [](auto& next, std::size_t size) {
    auto* taken = next;
    next += size;
    return taken;
  };
  output_.nonfinite = take(count, 1);
  output_.n_pixels = take(count, 1);
  output_.boundary_pixels = take(count, 1);
  output_.entropy_hist = take(count, DEAL_HISTOGRAM_LEVELS);
  output_.class_pixels = take(count, classes);
  numbers_.resize(9 + 3 * classes);
  double* number = numbers_.data();
  output_.entropy_mean = take(number, 1);
  output_.margin_mean = take(number, 1);
  output_.least_confidence_mean = take(number, 1);
  output_.class_entropy_sum = take(number, classes);
  if (model_->head != nullptr) {
    output_.difficulty_hist = take(count, DEAL_HISTOGRAM_LEVELS);
    output_.difficulty_hist_image = take(count, DEAL_HISTOGRAM_LEVELS);
    output_.difficulty_mean = take(number, 1);
    output_.difficulty_min = take(number, 1);
    output_.difficulty_max = take(number, 1);
    output_.difficulty_weighted_entropy_mean = take(number, 1);
    output_.difficulty_weighted_margin_mean = take(number, 1);
    output_.difficulty_weighted_least_confidence_mean = take(number, 1);
    output_.class_difficulty_sum = take(number, classes);
    output_.class_difficulty_weighted_entropy_sum = take(number, classes);
  }
  deal::score(acquisition_, output_, 1);  // refuses what one image alone cannot be scored by
}

double Network::score(const Image& image) {
  const deal_model& m = model_.get();
  const Image resized = as_taken(image, m);
  fill(resized, runtime_.input(resized.height, resized.width));
  const auto [data, shape] = runtime_.run();

  const bool last = m.output_layout == DEAL_NHWC;  // channels
  auto logits = deal::make<deal_tensor>();
  logits.data = data;
  logits.batch = 1;
  logits.channels = shape[last ? 3 : 1];
  logits.height = shape[last ? 1 : 2];
  logits.width = shape[last ? 2 : 3];
  logits.stride[1] = logits.channels * logits.height * logits.width;
  logits.stride[2] = last ? 1 : logits.height * logits.width;
  logits.stride[3] = logits.width * (last ? logits.channels : 1);
  logits.stride[4] = last ? logits.channels : 1;

  auto input = deal::make<deal_input>();
  input.logits = &logits;
  input.head = m.head;
  input.sampling = m.sampling;
  input.raster_height = resized.height;
  input.raster_width = resized.width;
  context_.compute(input, output_);
  return deal::score(acquisition_, output_, 1).front();
}

void Network::fill(const Image& image, void* input) const {
  const deal_model& m = model_.get();
  const bool planes = m.input_layout == DEAL_NCHW;
  const std::size_t pixels = image.rgb.size() / 3;
  const auto write = [&](auto* to, auto value) {
    for (std::size_t channel = 0; channel < 3; ++channel) {
      const std::uint8_t* from = image.rgb.data() + (m.input_bgr ? 2 - channel : channel);
      auto* at = to + (planes ? channel * pixels : channel);
      const std::size_t step = planes ? 1 : 3;
      for (std::size_t i = 0; i < pixels; ++i) at[i * step] = value(from[3 * i], channel);
    }
  };
  if (m.input_dtype == DEAL_UINT8) {
    write(static_cast<std::uint8_t*>(input), [](std::uint8_t level, std::size_t) { return level; });
  } else {
    write(static_cast<float*>(input), [&](std::uint8_t level, std::size_t channel) {
      return static_cast<float>((level / 255.0 - m.mean[channel]) / m.std[channel]);
    });
  }
}
