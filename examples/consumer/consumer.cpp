/* What consumer.c does, by deal.hpp: an error is an exception, and the context frees itself. */
#include <cstdio>
#include <deal.hpp>
#include <exception>
#include <vector>

int main() try {
  constexpr int kClasses = 6, kHeight = 12, kWidth = 16;
  std::vector<float> data(kClasses * kHeight * kWidth);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>(i * 37 % 101) / 16.0f;

  deal::Context context;
  auto logits = deal::make<deal_tensor>();
  logits.data = data.data(), logits.dtype = DEAL_FLOAT32;
  logits.size_bytes = static_cast<std::int64_t>(data.size() * sizeof data[0]);
  logits.batch = 1, logits.channels = kClasses, logits.height = kHeight, logits.width = kWidth;
  logits.stride[1] = kClasses * kHeight * kWidth, logits.stride[2] = kHeight * kWidth;
  logits.stride[3] = kWidth, logits.stride[4] = 1;
  auto input = deal::make<deal_input>();
  input.logits = &logits, input.raster_height = 90, input.raster_width = 120;

  double entropy = 0.0, margin = 0.0;
  auto output = deal::make<deal_output>();
  output.entropy_mean = &entropy, output.margin_mean = &margin;
  context.compute(input, output);
  const auto scores = deal::score(deal::acquisition("entropy"), output, 1);
  std::printf("entropy %.17g margin %.17g score %.17g\n", entropy, margin, scores[0]);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
