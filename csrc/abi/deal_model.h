/*
 * deal_model.h - what scoring needs to know of an ONNX model, read from the file. C ABI, C11.
 *
 * Usage, in C or C++
 *
 *     static char block[DEAL_MODEL_BYTES];  // names and weights lie here
 *     deal_model model;
 *     DEAL_INIT(model);
 *     if (deal_model_read("model.onnx", block, sizeof block, &model) != DEAL_OK) {
 *       puts(deal_last_error());
 *       return 1;
 *     }
 *     for (int64_t i = 0; i < model.session_entries; ++i) {  // set them before the session is made
 *       printf("%s=%s\n", model.session_entry[i].key, model.session_entry[i].value);
 *     }
 *     printf("%s: %d x %d\n", model.input_name, (int)model.input_height, (int)model.input_width);
 *
 *     deal_input input;
 *     DEAL_INIT(input);
 *     input.head = model.head;  // NULL: none
 *     input.sampling = model.sampling;
 *
 * Rules
 *   - Reads what Python's deal reads: the contract in the metadata of the ONNX file, under `deal`,
 *     then that of the side-car MODEL.json beside MODEL.onnx, whose keys win. The keys are those
 *     of docs/reference/model.md; the fields here have their defaults.
 *   - Loads no weights and runs nothing: the file is mapped into memory and its header walked. It
 *     must not be shortened meanwhile. Takes memory while it reads, and gives it back.
 *   - A file that is no ONNX model, that contradicts its contract, or that Python's deal refuses
 *     is DEAL_ERROR_INVALID_ARGUMENT with the reason and the remedy. So are names with a NUL and
 *     heads with numbers beyond 1e15, which Python reads.
 *   - All pointers of deal_model point into the block, which must outlive them.
 */
#ifndef DEAL_MODEL_H
#define DEAL_MODEL_H

#include "deal.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DEAL_MODEL_BYTES 65536 /* enough for usual models: 256 classes with long names, a head */

typedef enum deal_layout { DEAL_NCHW = 0, DEAL_NHWC = 1 } deal_layout;

/* How an image becomes the network's input. */
typedef enum deal_placing {
  DEAL_PLACE_STRETCH = 0,
  DEAL_PLACE_LETTERBOX = 1, /* fit in and pad */
  DEAL_PLACE_CROP = 2,      /* cover and cut off */
  DEAL_PLACE_NONE = 3,      /* images of another size are refused */
} deal_placing;

/* The filters of Pillow: the two widen with the scale where they shrink. */
typedef enum deal_filter {
  DEAL_BILINEAR_ANTIALIAS = 0,
  DEAL_BICUBIC_ANTIALIAS = 1,
  DEAL_NEAREST = 2,
} deal_filter;

/* A setting of an ONNX Runtime session: AddSessionConfigEntry(key, value). */
typedef struct deal_session_entry {
  const char* key;
  const char* value;
} deal_session_entry;

/* An input of the graph that is the mask of a dropout layer, float32 [1, channels, 1, 1]: ones
 * leave dropout off. */
typedef struct deal_dropout_input {
  const char* name;
  int64_t channels;
  double rate;
} deal_dropout_input;

typedef struct deal_model {
  size_t struct_size;
  int64_t block_bytes; /* that this model takes of the block */

  /* The image: [N, H, W, 3] or [N, 3, H, W]. */
  const char* input_name;
  int32_t input_dtype;               /* DEAL_UINT8, FLOAT32, FLOAT16, FLOAT64 */
  int32_t input_layout;              /* deal_layout */
  int32_t input_bgr;                 /* 1: blue, green, red; 0: red, green, blue */
  int32_t placing;                   /* deal_placing */
  int32_t filter;                    /* deal_filter */
  int64_t input_height, input_width; /* 0, 0: any */
  int64_t size_multiple;             /* of both */
  int64_t batch;                     /* images that the graph takes at once; 0: any */
  uint8_t pad_value[3];              /* of LETTERBOX: red, green, blue */
  uint8_t pad_top_left;              /* of LETTERBOX. 1: the image lies top left; 0: centered */
  int32_t normalised;                /* 1: the input is (level / 255 - mean) / std */
  double mean[3], std[3];            /* in the channel order of the input */
  int64_t dropouts;                  /* inputs besides the image */
  const deal_dropout_input* dropout; /* [dropouts] */
  int64_t session_entries;           /* without which ONNX Runtime gives other numbers */
  const deal_session_entry* session_entry; /* [session_entries] */
  int64_t weight_files;                    /* besides the model, to be copied with it */
  const char* const* weight_file;          /* [weight_files], relative to the model's folder */

  /* The logits: [N, C, h, w] or [N, h, w, C]. */
  const char* output_name;
  int32_t output_dtype;  /* DEAL_FLOAT32, FLOAT16, BFLOAT16, FLOAT64 */
  int32_t output_layout; /* deal_layout */
  int32_t probabilities; /* 1: a softmax or sigmoid is in the graph: score their logarithms */
  int32_t sigmoid;       /* 1: one channel z, of two classes with the logits 0 and z */
  int32_t sampling;      /* deal_sampling, of logits to raster */
  int64_t classes;       /* C; 2 with sigmoid */
  const char* const* class_name; /* [C] */
  const uint8_t* palette;        /* [C, 3] red, green, blue; NULL: none */
  int32_t has_ignore_index;
  int32_t ignore_index;  /* label of pixels without a class in the training data */
  const char* precision; /* "fp32", "fp16", "bf16", "int8"; NULL: not recorded */

  /* Difficulty: of the graph if it has that output, else by the head. */
  const char* difficulty_name; /* output [N, 1, gh, gw] before the sigmoid; NULL: none */
  const deal_head* head;       /* NULL: none */
  const char* embedding_name;  /* output [N, E]; NULL: none */
} deal_model;

/* Reads the ONNX file at path into block [size]. With a block of NULL only block_bytes is set. */
DEAL_API deal_status deal_model_read(const char* path, void* block, int64_t size,
                                     deal_model* model);

/* Resizes an RGB image into out [out_height, out_width, 3], as scoring does before the network,
 * with its bits. stride: bytes from row to row, column to column and channel to channel; NULL for
 * packed rows. The filter is a deal_filter. Takes memory for the rows, and gives it back. */
DEAL_API deal_status deal_resize(const uint8_t* rgb, const int64_t* stride, int64_t height,
                                 int64_t width, int32_t filter, uint8_t* out, int64_t out_height,
                                 int64_t out_width);

#ifdef __cplusplus
}
#endif
#endif /* DEAL_MODEL_H */
