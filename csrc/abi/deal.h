/*
 * deal.h - difficulty and uncertainty statistics of segmentation logits. C ABI, C11.
 *
 * Usage, in C or C++ (B images of C classes, logits h x w; csrc/abi/deal_stream.h selects frames)
 *
 *     deal_context_options options;
 *     DEAL_INIT(options);  // CPU, every core, best instruction set
 *     deal_context* context;
 *     if (deal_context_create(&options, &context) != DEAL_OK) puts(deal_last_error());
 *
 *     deal_tensor logits;
 *     DEAL_INIT(logits);
 *     logits.data = data;
 *     logits.dtype = DEAL_FLOAT32;
 *     logits.size_bytes = sizeof data;  // optional: checked against sizes and strides
 *     logits.batch = B, logits.channels = C, logits.height = h, logits.width = w;
 *     logits.stride[1] = C * h * w, logits.stride[2] = h * w, logits.stride[3] = w;
 *     logits.stride[4] = 1;
 *
 *     deal_head head;
 *     DEAL_INIT(head);
 *     head.weight = weight, head.channels = C, head.gamma = 0.8f, head.bias = -0.4f;
 *     head.grid_height = 60, head.grid_width = 80;
 *
 *     deal_input input;
 *     DEAL_INIT(input);
 *     input.logits = &logits, input.head = &head;
 *     input.raster_height = 360, input.raster_width = 480, input.sampling = DEAL_ALIGN_CORNERS;
 *
 *     double difficulty[B], entropy[B], scores[B];
 *     deal_output output;
 *     DEAL_INIT(output);
 *     output.difficulty_mean = difficulty;
 *     output.difficulty_weighted_entropy_mean = entropy;
 *
 *     deal_acquisition acquisition;
 *     DEAL_INIT(acquisition);
 *     deal_acquisition_find("ds:entropy", &acquisition.kind);
 *
 *     deal_reserve(context, &input);                     // optional: all memory is taken here
 *     deal_enqueue(context, &input, &output, NULL);      // immediate on the CPU
 *     deal_finish(context);                              // from here a device's results are valid
 *     deal_score(&acquisition, &output, B, scores);      // higher: label sooner
 *     deal_context_destroy(context);
 *
 * Rules
 *   - Set struct_size of every struct to its sizeof and every unused field to 0, as DEAL_INIT does.
 *     Fields beyond struct_size count as 0, so programs built against an older header keep working.
 *   - Outputs are buffers of the caller. An output whose pointer is NULL is not computed, and a
 *     stage without any output is skipped.
 *   - A context serves one thread at a time; several contexts may run at once. No state is global.
 *     A context does not survive fork(): create one in the child.
 *   - A context of threads = 1 starts no thread and takes no lock: all work is the caller's, with
 *     its priority and affinity. Others start threads - 1, named deal-1 and so on, which wait awake
 *     for about 0.1 ms before they sleep; on_thread_start may set their priority and affinity. They
 *     help: if they come late, the caller works on, and waits for what they have begun alone.
 *   - Functions return a deal_status; deal_last_error() is the calling thread's text for the last
 *     failure. No function throws, prints or exits. deal_enqueue allocates only when a shape needs
 *     more memory than any shape before it, never after deal_reserve for that shape.
 *   - On a CUDA context deal_enqueue only launches work on the stream (a cudaStream_t; NULL is the
 *     default stream) and deal_finish waits for it; in between the context takes no other request.
 *     All data of deal_input (logits, difficulty, map of segments, mask) and the maps of
 * deal_output are on the device; structs, head weights and the tables of deal_output are on the
 * host. deal_finish writes the tables and reports segment ids beyond the count. If a request of the
 *     same shape was scored before (so that memory is taken and kernels are loaded), it can be
 *     captured into a graph: launch the graph and then call deal_finish, as often as you like,
 * while the context takes no other request.
 *   - Given the same logits, every result is bit-identical for any number of threads, batch split
 *     and instruction set (in the default floating-point mode, which the kernel does not change).
 *   - NaN and infinite inputs are counted, and such an image is not scored. Values beyond 1e37,
 *     such as the lowest float that masks a class, count as 1e37 of their sign.
 *   - INT8 and UINT8, as accelerators give them, are scored where they lie, in any layout (of
 *     [B, h, w, C] stride[2] is 1): results have the bits of the float32 values that they stand
 *     for, on the CPU.
 *
 * Shapes: M members of a committee (1 to 64), B images, C classes (1 to 256), logits h x w, raster
 * H x W, attention grid gh x gw, R regions. Formulas: docs/explanation/mathematics.md (Xie et al.,
 * arXiv 2010.08705).
 */
#ifndef DEAL_H
#define DEAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(DEAL_BUILDING)
#define DEAL_API __attribute__((visibility("default")))
#else
#define DEAL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define DEAL_ABI_VERSION 1
#define DEAL_HISTOGRAM_LEVELS 240
#define DEAL_MAX_CLASSES 256
#define DEAL_MAX_MEMBERS 64
#define DEAL_THUMBNAIL_BYTES 192

/* Sets all fields of a struct of this interface to 0, and its struct_size. */
#define DEAL_INIT(name) deal_init(&(name), sizeof(name))
static inline void deal_init(void* structure, size_t size) {
  memset(structure, 0, size);
  memcpy(structure, &size, sizeof size);
}

typedef enum deal_status {
  DEAL_OK = 0,
  DEAL_ERROR_INVALID_ARGUMENT = 1, /* a NULL, a wrong size, shapes that do not fit */
  DEAL_ERROR_UNSUPPORTED = 2,      /* valid, but not in this build or version */
  DEAL_ERROR_OUT_OF_MEMORY = 3,
  DEAL_ERROR_DEVICE = 4,   /* the device or its driver failed */
  DEAL_ERROR_INTERNAL = 5, /* a bug: please report it */
} deal_status;

typedef enum deal_dtype {
  DEAL_FLOAT32 = 0,
  DEAL_FLOAT16 = 1,
  DEAL_BFLOAT16 = 2,
  DEAL_INT8 = 3,
  DEAL_UINT8 = 4,
  DEAL_FLOAT64 = 5, /* of deal_model alone: logits are converted to float32 before */
} deal_dtype;
typedef enum deal_device { DEAL_CPU = 0, DEAL_CUDA = 1 } deal_device;

/* The convention of all three resizes, as PyTorch's interpolate(mode="bilinear"). */
typedef enum deal_sampling { DEAL_HALF_PIXEL = 0, DEAL_ALIGN_CORNERS = 1 } deal_sampling;

/* How the attention averages are computed: over all pairs of cells, or by a degree-4 polynomial
 * kernel, which is linear in the cells. The error of the polynomial is at most 1e-5 of gamma times
 * the range of the averaged values: max w - min w, plus (1 - 1/C) (max(u, 0) - min(u, 0)) with
 * uncertainty_weight u. AUTO takes the cheaper one. */
typedef enum deal_attention {
  DEAL_ATTENTION_AUTO = 0,
  DEAL_ATTENTION_DIRECT = 1,
  DEAL_ATTENTION_POLYNOMIAL = 2,
} deal_attention;

typedef enum deal_isa {
  DEAL_ISA_AUTO = 0,
  DEAL_ISA_PORTABLE = 1,
  DEAL_ISA_AVX2 = 2,
  DEAL_ISA_AVX512 = 3, /* F, BW, DQ and VL */
  DEAL_ISA_NEON = 4,   /* of AArch64 */
} deal_isa;

typedef enum deal_region_kind {
  DEAL_REGIONS_NONE = 0,
  DEAL_REGIONS_GRID = 1,     /* square cells, ragged last row and column, row-major ids */
  DEAL_REGIONS_SEGMENTS = 2, /* a map of ids, negative for no region */
} deal_region_kind;

typedef struct deal_context deal_context;
typedef void (*deal_log_callback)(void* user, const char* message);
/* Called by a thread of the context before its first work; number: 1 to threads - 1. */
typedef void (*deal_thread_callback)(void* user, int32_t number);

typedef struct deal_context_options {
  size_t struct_size;
  int32_t device;       /* deal_device */
  int32_t device_index; /* 0 on the CPU */
  int32_t threads;      /* 0: every core this process may use; on CUDA for boundary lines alone */
  int32_t isa;          /* deal_isa, of the CPU */
  deal_log_callback log;
  void* log_user;
  deal_thread_callback on_thread_start; /* where a rig sets priority or affinity; NULL: none */
  void* thread_user;
} deal_context_options;

typedef struct deal_context_counters {
  size_t struct_size;
  int64_t frames;           /* images scored; on a CUDA context those of every deal_finish */
  int64_t nonfinite_frames; /* of them not scored for NaN or infinite inputs */
  int64_t host_bytes;       /* working memory that the context holds now */
  int64_t device_bytes;     /* likewise, on a CUDA device */
} deal_context_counters;

typedef struct deal_tensor {
  size_t struct_size;
  const void* data; /* aligned to its elements */
  int32_t dtype;    /* deal_dtype */
  int32_t device;   /* deal_device */
  int64_t members;  /* M models of a committee, of logits alone; 0 counts as 1 */
  int64_t batch, channels, height, width;
  int64_t stride[5];  /* in elements: member, image, channel, row, column; may be 0 or negative */
  int64_t size_bytes; /* of the buffer; a request whose strides span more is refused. 0: unknown */
  float scale;        /* of INT8 and UINT8, of which q stands for (q - zero_point) * scale */
  int32_t zero_point; /* a value of the dtype */
} deal_tensor;

typedef struct deal_head {
  size_t struct_size;
  const float* weight; /* [C]; like gamma and bias finite, at most 1e15 in size */
  int64_t channels;    /* C */
  float gamma;
  float bias;
  int64_t grid_height, grid_width; /* attention grid; 0, 0: the logits' own */
  int32_t attention;               /* deal_attention */
  const float* uncertainty_weight; /* [C], likewise: of p (1 - p) of each class; NULL: zeros */
} deal_head;

typedef struct deal_regions {
  size_t struct_size;
  int32_t kind;       /* deal_region_kind */
  int64_t cell;       /* GRID: raster pixels a side */
  const int32_t* map; /* SEGMENTS: [B, H, W] or, shared by all images, [H, W] */
  int32_t shared;     /* SEGMENTS: 1 when map is [H, W] */
  int64_t count;      /* SEGMENTS: R, at most 2^31 - 1; every id is below it */
} deal_regions;

typedef struct deal_input {
  size_t struct_size;
  const deal_tensor* logits;           /* [M, B, C, h, w] */
  int64_t raster_height, raster_width; /* H, W */
  int32_t sampling;                    /* deal_sampling */
  const deal_head* head;               /* NULL: no head */
  const deal_tensor* difficulty;       /* [1, B, 1, gh, gw] before the sigmoid; wins over head */
  const deal_regions* regions;         /* NULL: none */
  const uint8_t* mask;                 /* [B, H, W] or [H, W], 0: ignore; NULL: none */
  int32_t mask_shared;                 /* 1 when mask is [H, W] */
} deal_input;

/* Caller-owned buffers, all C-contiguous. If n_pixels is 0, means, minimum, maximum and impurity
 * are NaN, majority_class is -1, and counts and sums are 0. Maps of an image with NaN or infinite
 * inputs are 0. Difficulty outputs need a head or a difficulty grid. For a committee, all outputs
 * are those of member 0, except the committee's own outputs (vote entropy, mutual information,
 * consensus entropy) and nonfinite, which counts NaN and infinite logits of all members. */
typedef struct deal_output {
  size_t struct_size;

  /* [B] */
  int64_t* nonfinite; /* NaN or infinite inputs; if not 0 the image's n_pixels is 0 */
  int64_t* n_pixels;
  int64_t* boundary_pixels; /* unmasked, with an unmasked 4-neighbour of another predicted class */
  double* difficulty_mean;
  double* difficulty_min;
  double* difficulty_max;
  double* entropy_mean; /* nats */
  double* margin_mean;
  double* least_confidence_mean;
  double* difficulty_weighted_entropy_mean; /* means of the products */
  double* difficulty_weighted_margin_mean;
  double* difficulty_weighted_least_confidence_mean;

  /* [B, 240] */
  int64_t* difficulty_hist;       /* over 0...1 */
  int64_t* difficulty_hist_image; /* over the image's own min...max */
  int64_t* entropy_hist;          /* over 0...ln C */

  /* [B, C], over the pixels predicted as that class */
  int64_t* class_pixels;
  double* class_difficulty_sum;
  double* class_entropy_sum;
  double* class_difficulty_weighted_entropy_sum;

  /* [B, R] */
  int64_t* region_n_pixels;
  int64_t* region_x0; /* half-open box in raster pixels, masked pixels included */
  int64_t* region_y0;
  int64_t* region_x1;
  int64_t* region_y1;
  double* region_difficulty_mean;
  double* region_entropy_mean;
  double* region_margin_mean;
  double* region_least_confidence_mean;
  double* region_difficulty_weighted_entropy_mean;
  double* region_difficulty_weighted_margin_mean;
  double* region_difficulty_weighted_least_confidence_mean;
  int64_t* region_majority_class; /* ties: the lowest */
  double* region_impurity;        /* entropy of the predicted classes' fractions, nats */
  int64_t* region_boundary_pixels;

  /* maps, the only outputs that lie on the device of a CUDA context */
  float* difficulty_grid; /* [B, gh, gw], before the sigmoid */
  float* difficulty_map;  /* [B, H, W], 0...1 */
  uint8_t* class_map;     /* [B, H, W] */

  /* [B], for a committee (M > 1), in nats. Means over the pixels of: the entropy of the members'
   * predicted classes (ties: the lowest class), H(mean P) - mean H(P), and H(mean P) */
  double* vote_entropy_mean;
  double* mutual_information_mean;
  double* consensus_entropy_mean;

  /* [B, R], likewise */
  double* region_vote_entropy_mean;
  double* region_mutual_information_mean;
  double* region_consensus_entropy_mean;

  /* The lines that an annotator would draw (for a CUDA context, deal_finish traces them on the
   * CPU): the edges between 4-adjacent unmasked pixels of different predicted classes, cut into
   * chains at points where not exactly two edges meet, and simplified to within 1.5 pixels (Douglas
   * and Peucker). An edge counts for the regions of its two pixels, a corner for the regions of the
   * up to four pixels around it. */
  double* boundary_length;   /* [B], raster pixels */
  int64_t* boundary_corners; /* [B], corners of the simplified lines, where they meet or end once */
  double* region_boundary_length;   /* [B, R] */
  int64_t* region_boundary_corners; /* [B, R] */
} deal_output;

/* The sizes that the buffers of deal_output need for an input. */
typedef struct deal_sizes {
  size_t struct_size;
  int64_t batch, classes, regions;
  int64_t grid_height, grid_width; /* 0 without head and difficulty */
} deal_sizes;

DEAL_API int32_t deal_abi_version(void);
DEAL_API const char* deal_version(void);
/* One line: instruction sets compiled in, the one in use on this machine, CUDA or not. */
DEAL_API const char* deal_build_info(void);
DEAL_API const char* deal_status_name(deal_status status);
DEAL_API const char* deal_last_error(void);

DEAL_API deal_status deal_context_create(const deal_context_options* options, deal_context** out);
DEAL_API void deal_context_destroy(deal_context* context); /* NULL is allowed */
/* Tells what the context did since it was created, and the memory it holds. */
DEAL_API deal_status deal_context_count(const deal_context* context,
                                        deal_context_counters* counters);

DEAL_API deal_status deal_output_sizes(const deal_input* input, deal_sizes* sizes);
DEAL_API deal_status deal_reserve(deal_context* context, const deal_input* input);
DEAL_API deal_status deal_enqueue(deal_context* context, const deal_input* input,
                                  const deal_output* output, void* stream);
DEAL_API deal_status deal_finish(deal_context* context);

/* Finds the 4-connected areas of equal, non-negative values in map [height, width], for example in
 * a class map, and writes their numbers to ids [height, width], in raster order of their first
 * pixel. Pixels of negative value and of areas below min_pixels get -1. count is set to the number
 * of areas. Needs no context and takes no memory; map and ids must be different buffers of at most
 * 2^31 - 1 pixels each. */
DEAL_API deal_status deal_components(const int32_t* map, int64_t height, int64_t width,
                                     int64_t min_pixels, int32_t* ids, int64_t* count);

/* ---- Scores ---------------------------------------------------------------------------------- */

/* The acquisition functions of docs/acquisition.md that score one image alone. */
typedef enum deal_acquisition_kind {
  DEAL_DS_NONE = 0,
  DEAL_DS_ENTROPY = 1,
  DEAL_DS_MARGIN = 2,
  DEAL_DS_LEAST_CONFIDENCE = 3,
  DEAL_DE = 4, /* takes levels, edges */
  DEAL_ENTROPY = 5,
  DEAL_MARGIN = 6,
  DEAL_LEAST_CONFIDENCE = 7,
  DEAL_RIPU = 8,                 /* takes classes */
  DEAL_RANDOM = 9,               /* takes ids, seed */
  DEAL_TAIL_DIFFICULTY = 10,     /* takes tail */
  DEAL_TAIL_ENTROPY = 11,        /* takes tail, classes */
  DEAL_BALANCED_DIFFICULTY = 12, /* these three take classes, totals */
  DEAL_BALANCED_ENTROPY = 13,
  DEAL_BALANCED_DS_ENTROPY = 14,
  DEAL_FOCUS_DIFFICULTY = 15, /* these four take classes, focus */
  DEAL_FOCUS_ENTROPY = 16,
  DEAL_FOCUS_DS_ENTROPY = 17,
  DEAL_FOCUS_PIXELS = 18,
  DEAL_VOTE_ENTROPY = 19, /* these four are of a committee */
  DEAL_BALD = 20,
  DEAL_KL_TO_MEAN = 21,
  DEAL_CONSENSUS_ENTROPY = 22,
} deal_acquisition_kind;

/* The range of DE's levels: each image's own min...max, or 0...1. */
typedef enum deal_edges { DEAL_EDGES_IMAGE = 0, DEAL_EDGES_FIXED = 1 } deal_edges;

typedef struct deal_acquisition {
  size_t struct_size;
  int32_t kind;           /* deal_acquisition_kind */
  int32_t levels;         /* a divisor of 240 above 1; 0 counts as 8 */
  int32_t edges;          /* deal_edges */
  int64_t classes;        /* C */
  double tail;            /* share of the pixels, above 0 and at most 1; 0 counts as 0.05 */
  const uint8_t* focus;   /* [C], not 0 for the classes that count */
  const int64_t* totals;  /* [C], pixels of the pool predicted as each class: of an earlier drive */
  const char* const* ids; /* [B], UTF-8, NUL-terminated */
  int64_t seed;
} deal_acquisition;

/* Sets *kind to the deal_acquisition_kind of a name such as "ds:entropy". */
DEAL_API deal_status deal_acquisition_find(const char* name, int32_t* kind);

/* Scores a batch of statistics: scores [batch], higher is labeled sooner, NaN for an image without
 * a score. The bits are those of deal.acquisition_scores in Python, on every processor. The output
 * needs the columns that the function reads, which an error names. Takes no memory. */
DEAL_API deal_status deal_score(const deal_acquisition* acquisition, const deal_output* output,
                                int64_t batch, double* scores);

/* ---- Signatures ------------------------------------------------------------------------------ */

/* Writes the signature of an upright RGB image to out [12 x 16]: the rounded mean grey (luma of
 * ITU-R BT.601) of 12 x 16 areas, of at most 32 rows per area. These are the bytes that
 * deal-score stores as `thumbnail` and compares with --dedup. stride: bytes from row to row, column
 * to column and channel to channel; NULL for packed rows. For BGR pass the address of the first red
 * byte and a last stride of -1. Takes no memory. */
DEAL_API deal_status deal_thumbnail(const uint8_t* rgb, const int64_t* stride, int64_t height,
                                    int64_t width, uint8_t* out);

/* How far two signatures are apart, in 1/36864 of a grey level: sum of |192 (a - b) - sum(a - b)|,
 * so that a mere change of exposure counts little. Two images are near-duplicates by a threshold
 * of t grey levels where it is at most t * 36864. */
DEAL_API int64_t deal_thumbnail_difference(const uint8_t* a, const uint8_t* b);

#ifdef __cplusplus
}
#endif
#endif /* DEAL_H */
