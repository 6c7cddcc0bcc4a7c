/* Statistics of one image from fixed logits, by deal.h. Prints the same line on every machine. */
#include <deal.h>
#include <stdio.h>

enum { CLASSES = 6, HEIGHT = 12, WIDTH = 16 };

static int failed(const char* call) {
  fprintf(stderr, "%s: %s\n", call, deal_last_error());
  return 1;
}

int main(void) {
  static float data[CLASSES * HEIGHT * WIDTH];
  for (int i = 0; i < CLASSES * HEIGHT * WIDTH; ++i) data[i] = (float)(i * 37 % 101) / 16.0f;

  deal_context_options options;
  DEAL_INIT(options);
  deal_context* context;
  if (deal_context_create(&options, &context) != DEAL_OK) return failed("deal_context_create");

  deal_tensor logits;
  DEAL_INIT(logits);
  logits.data = data, logits.size_bytes = sizeof data, logits.dtype = DEAL_FLOAT32;
  logits.batch = 1, logits.channels = CLASSES, logits.height = HEIGHT, logits.width = WIDTH;
  logits.stride[1] = CLASSES * HEIGHT * WIDTH, logits.stride[2] = HEIGHT * WIDTH;
  logits.stride[3] = WIDTH, logits.stride[4] = 1;
  deal_input input;
  DEAL_INIT(input);
  input.logits = &logits, input.raster_height = 90, input.raster_width = 120;

  double entropy, margin, score;
  deal_output output;
  DEAL_INIT(output);
  output.entropy_mean = &entropy, output.margin_mean = &margin;
  if (deal_enqueue(context, &input, &output, NULL) != DEAL_OK) return failed("deal_enqueue");
  if (deal_finish(context) != DEAL_OK) return failed("deal_finish");

  deal_acquisition acquisition;
  DEAL_INIT(acquisition);
  if (deal_acquisition_find("entropy", &acquisition.kind) != DEAL_OK ||
      deal_score(&acquisition, &output, 1, &score) != DEAL_OK) {
    return failed("deal_score");
  }
  printf("entropy %.17g margin %.17g score %.17g\n", entropy, margin, score);
  deal_context_destroy(context);
  return 0;
}
