/*
 * deal_stream.h - which frames of a stream to keep, within budgets. C ABI, C11.
 *
 * Usage, in C or C++
 *
 *     deal_stream_options options;
 *     DEAL_INIT(options);
 *     options.max_frames = 500;
 *     options.min_gap_ns = 2000000000;  // of a camera no two kept frames within 2 s
 *
 *     int64_t size;
 *     if (deal_stream_size(&options, &size) != DEAL_OK) puts(deal_last_error());
 *     void* block = malloc((size_t)size);  // or static, or shared: all memory there is
 *     deal_stream* stream;
 *     deal_stream_init(&options, block, size, &stream);
 *
 *     deal_stream_frame frame;  // for every frame, in the order of its camera
 *     DEAL_INIT(frame);
 *     frame.id = 1, frame.timestamp_ns = 1700000000000000000, frame.score = 0.25;
 *     deal_decision decisions[16];
 *     int64_t count;
 *     deal_stream_push(stream, &frame, decisions, 16, &count);
 *     while (count > 0) {
 *       for (int64_t i = 0; i < count; ++i) {
 *         // DEAL_KEEP: write the frame; DEAL_EVICT: delete its file; DEAL_DROP: forget it
 *         puts(deal_why_name(decisions[i].why));
 *       }
 *       deal_stream_rest(stream, decisions, 16, &count);
 *     }
 *     deal_stream_end(stream, decisions, 16, &count);  // then as after a push
 *     free(block);
 *
 * Rules
 *   - After a trip the kept frames are those that `deal select` picks from the whole trip with the
 *     same budget in frames, gap and draw, wherever no frame was forced (see counters.forced).
 *   - The order of frames is total: by score (or by the key of a draw, then by score), and between
 *     equals the frame that was pushed first. No clock, thread or memory changes a decision.
 *   - No function allocates, reads a clock, does input or output, or takes a lock. A stream serves
 *     one thread at a time. The block must not move.
 *   - Every frame ends in one final DEAL_DROP or DEAL_EVICT, or is kept. A frame waits for its
 *     decision for up to look_ahead_ns (and until the context before later picks is decided): hold
 *     it in memory so long. While decision.waiting is 1 another decision about the frame follows.
 *   - After any push, what is kept is within every limit. Delete what is evicted before you write
 *     what is kept: decisions come in this order.
 *   - Times of a sequence and camera may come up to look_ahead_ns late. Where a clock is set back
 *     by more, what waits is decided, and time starts anew.
 *
 * Memory and time: a few hundred bytes for each of max_frames + max_context_frames + pending
 * frames. A push compares the frame with those that wait within a gap, and takes O(log max_frames)
 * besides; a frame that enters the picks is compared with all of them if near is set.
 */
#ifndef DEAL_STREAM_H
#define DEAL_STREAM_H

#include "deal.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct deal_stream deal_stream;

/* Which kept frames a near-duplicate is looked for among. */
typedef enum deal_near {
  DEAL_NEAR_NONE = 0,
  DEAL_NEAR_CAMERA = 1, /* those of the same sequence and camera */
  DEAL_NEAR_ALL = 2,
} deal_near;

typedef enum deal_draw {
  DEAL_DRAW_NONE = 0,
  DEAL_DRAW_POWER = 1, /* as `deal select --stochastic power:BETA --seed SEED` */
} deal_draw;

typedef struct deal_stream_options {
  size_t struct_size;
  int64_t max_frames;            /* picks, 1 to 1,000,000; context frames do not count */
  int64_t max_bytes;             /* of picks and context; 0: no limit */
  int64_t window_ns;             /* windows are floor(timestamp / window_ns); 0: none */
  int64_t max_frames_per_window; /* ranked picks; 0: no limit */
  int64_t max_bytes_per_window;  /* of ranked picks, without context; 0: no limit */
  int64_t min_gap_ns;            /* between ranked picks of a sequence and camera; 0: none */
  int64_t look_ahead_ns;         /* 0: four gaps; at least a gap and context_after_ns */
  int64_t context_before_ns;     /* frames around a ranked pick that are kept as long as it is */
  int64_t context_after_ns;
  int64_t max_context_frames; /* that lie around picks, picks among them; 0: eight per pick */
  double near_threshold;      /* grey levels, 0 to 255: see deal_thumbnail_difference */
  int32_t near;               /* deal_near */
  int32_t pending;            /* frames that may wait; 0: 1024 */
  int32_t groups;             /* sequences and cameras that may wait at a time; 0: 64 */
  int32_t draw;               /* deal_draw */
  double beta;                /* of the draw; 0 counts as 1 */
  double random_share;        /* of max_frames and max_bytes, 0 to 1, for a random sample */
  uint64_t seed;              /* of the draw and the sample */
} deal_stream_options;

typedef struct deal_stream_frame {
  size_t struct_size;
  uint64_t id;          /* yours; the stream hands it back */
  uint64_t name_hash;   /* deal_name_hash of the id in `deal select`; for draws and samples */
  int64_t timestamp_ns; /* within 2^61 of 0 */
  int64_t bytes;        /* that keeping the frame takes, up to 2^39 */
  double score;         /* NaN and infinity are told and dropped */
  uint64_t sequence;    /* the drive; gaps and context do not reach beyond it */
  int32_t camera;
  const uint8_t* signature; /* [192] of deal_thumbnail; NULL: no near-duplicate of any */
} deal_stream_frame;

typedef enum deal_action { DEAL_KEEP = 1, DEAL_EVICT = 2, DEAL_DROP = 3 } deal_action;

/* Why a frame is kept (the first three), or why it is not. A kept frame whose part changes, such as
 * a context frame that becomes a pick, is told by another DEAL_KEEP. */
typedef enum deal_why {
  DEAL_WHY_RANKED = 1,          /* one of the best */
  DEAL_WHY_RANDOM = 2,          /* in the random sample */
  DEAL_WHY_CONTEXT = 3,         /* around a ranked pick; not kept: the pick went */
  DEAL_WHY_GAP = 4,             /* a better frame lies within the gap */
  DEAL_WHY_LOOK_AHEAD = 5,      /* a better frame within the gap was still undecided */
  DEAL_WHY_NEAR = 6,            /* a better kept frame shows the same */
  DEAL_WHY_FRAMES = 7,          /* max_frames better ones are kept */
  DEAL_WHY_BYTES = 8,           /* better ones take max_bytes */
  DEAL_WHY_WINDOW_FRAMES = 9,   /* the window holds its number of better ones */
  DEAL_WHY_WINDOW_BYTES = 10,   /* better ones of the window take its bytes */
  DEAL_WHY_CONTEXT_FRAMES = 11, /* the context of better ones takes max_context_frames */
  DEAL_WHY_NOT_FINITE = 12,     /* the score is NaN or infinite */
  DEAL_WHY_NEGATIVE = 13,       /* a score below 0, which power cannot draw by */
} deal_why;

typedef struct deal_decision {
  uint64_t id;
  uint64_t arrival; /* number of the frame, from 0 in the order of pushes */
  double score;
  double key; /* what ranks: the score, or the key of the draw */
  int64_t timestamp_ns;
  int32_t action;  /* deal_action */
  int32_t why;     /* deal_why */
  int32_t waiting; /* 1: not final, another decision about this frame follows */
  int32_t sent;    /* 1: deal_stream_sent was called for it */
} deal_decision;

typedef struct deal_stream_counters {
  size_t struct_size;
  int64_t pushed, not_finite, negative, repeated;
  int64_t forced;   /* decided by look_ahead_ns while a better neighbour was undecided */
  int64_t overflow; /* decided early since `pending` or `groups` was full */
  int64_t clock_steps;
  int64_t ranked, random, context, waiting; /* frames now; one may be several of these */
  int64_t bytes;                            /* of all kept frames */
} deal_stream_counters;

/* The hash of an id [length], UTF-8, that `deal select` draws by. */
DEAL_API uint64_t deal_name_hash(const char* id, size_t length);
DEAL_API const char* deal_why_name(int32_t why); /* "ranked", ..., "unknown" */

/* Sets *size to the bytes of memory that a stream needs. */
DEAL_API deal_status deal_stream_size(const deal_stream_options* options, int64_t* size);
/* Makes a stream in memory, aligned to 16 bytes, which it uses until you free it. */
DEAL_API deal_status deal_stream_init(const deal_stream_options* options, void* memory,
                                      int64_t size, deal_stream** out);

/* Takes a frame and writes what follows from it to decisions [room]. *count is the number written;
 * if it is room, deal_stream_rest may have more, and has to be asked before the next push. */
DEAL_API deal_status deal_stream_push(deal_stream* stream, const deal_stream_frame* frame,
                                      deal_decision* decisions, int64_t room, int64_t* count);
/* Decides all that waits, as at the end of a trip. The stream can go on. */
DEAL_API deal_status deal_stream_end(deal_stream* stream, deal_decision* decisions, int64_t room,
                                     int64_t* count);
DEAL_API deal_status deal_stream_rest(deal_stream* stream, deal_decision* decisions, int64_t room,
                                      int64_t* count);

/* Writes all kept frames, in no order, with their parts as `why`; *count is their number, which may
 * exceed room. */
DEAL_API deal_status deal_stream_kept(const deal_stream* stream, deal_decision* decisions,
                                      int64_t room, int64_t* count);
DEAL_API deal_status deal_stream_count(const deal_stream* stream, deal_stream_counters* counters);

/* For a link, where what is sent cannot be taken back: deal_stream_best writes the best ranked pick
 * that is not sent yet, and *found = 0 if there is none. After it is sent, deal_stream_sent pins it
 * by its id: it stays a pick, counts in every limit, and is never evicted. Draining the best at the
 * rate of the link needs neither a threshold nor the length of the trip. */
DEAL_API deal_status deal_stream_best(const deal_stream* stream, deal_decision* best,
                                      int32_t* found);
DEAL_API deal_status deal_stream_sent(deal_stream* stream, uint64_t id);

/* After a restart, before the first push: takes over a frame that was kept, with the arrival, `why`
 * and `sent` of its last DEAL_KEEP. Also frames that were evicted or dropped for DEAL_WHY_BYTES or
 * DEAL_WHY_CONTEXT_FRAMES, in any order: with an action of DEAL_EVICT they set the bar that keeps
 * the result independent of order. With a gap or context, a frame that is pushed again while
 * it is known (by id and time) changes nothing. */
DEAL_API deal_status deal_stream_restore(deal_stream* stream, const deal_stream_frame* frame,
                                         const deal_decision* decision);

#ifdef __cplusplus
}
#endif
#endif /* DEAL_STREAM_H */
