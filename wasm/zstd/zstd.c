// The interface of zstd.wasm: one instance holds one stream at a time, compressing or decompressing, with or without a
// prefix (the base of a delta). There is no I/O and no import: the host puts input into `input`, calls `step`, and takes
// what lies where `progress` says. Numbers below zero are zstd's error codes, negated.

#define ZSTD_STATIC_LINKING_ONLY
#include <stdint.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define EXPORT(name) __attribute__((export_name(#name)))

enum { input_capacity = 256 * 1024, output_capacity = 256 * 1024 };

static uint8_t input[input_capacity];
static uint8_t output[output_capacity];

// What the host reads: at these places, in this order.
static struct {
  uint32_t input_taken;
  uint32_t output_made;
  const uint8_t *output;
} progress;

static ZSTD_CCtx *compressor;
static ZSTD_DCtx *decompressor;

// Room for all that comes of a delta.
static ZSTD_outBuffer whole;

EXPORT(input_at) void *input_at(void) { return input; }
EXPORT(input_size) uint32_t input_size(void) { return input_capacity; }
EXPORT(output_size) uint32_t output_size(void) { return output_capacity; }
EXPORT(progress_at) void *progress_at(void) { return &progress; }

// Room for a prefix and what may be behind it, or 0.
EXPORT(allocate) void *allocate(uint32_t size) { return malloc(size); }
EXPORT(release) void release(void *room) { free(room); }

// Frees the stream, but no room.
EXPORT(stream_end) void stream_end(void) {
  ZSTD_freeCCtx(compressor);
  ZSTD_freeDCtx(decompressor);
  compressor = NULL;
  decompressor = NULL;
}

#define TRY(call)                                     \
  do {                                                \
    size_t const result_ = (call);                    \
    if (ZSTD_isError(result_)) return (int)result_; \
  } while (0)

// A frame of `size` bytes with checksum. `window_log` 0 leaves the window to the level. The prefix must stay where it is
// until the stream's end; it counts for this frame.
EXPORT(compress_begin)
int compress_begin(int level, int window_log, int long_distance, double size, const void *prefix, uint32_t prefix_size) {
  stream_end();
  compressor = ZSTD_createCCtx();
  if (compressor == NULL) return -ZSTD_error_memory_allocation;
  TRY(ZSTD_CCtx_setParameter(compressor, ZSTD_c_compressionLevel, level));
  TRY(ZSTD_CCtx_setParameter(compressor, ZSTD_c_checksumFlag, 1));
  TRY(ZSTD_CCtx_setParameter(compressor, ZSTD_c_windowLog, window_log));
  if (long_distance) TRY(ZSTD_CCtx_setParameter(compressor, ZSTD_c_enableLongDistanceMatching, ZSTD_ps_enable));
  TRY(ZSTD_CCtx_setPledgedSrcSize(compressor, (unsigned long long)size));
  if (prefix_size > 0) TRY(ZSTD_CCtx_refPrefix(compressor, prefix, prefix_size));
  return 0;
}

// The logarithm of the size over which a level's search reaches: where a delta's target is larger, `zstd --patch-from`
// turns long-distance matching on.
EXPORT(search_log) int search_log(int level, double size, double prefix_size) {
  ZSTD_compressionParameters const parameters = ZSTD_getCParams(level, (unsigned long long)size, (size_t)prefix_size);
  return (int)parameters.chainLog - (parameters.strategy >= ZSTD_btlazy2);
}

// Frames whose window is larger than `window_size` bytes are refused. All that comes of a delta goes behind its prefix, where
// there is room for `target_size` bytes, and more is refused: zstd looks back there, with no window of its own and no copy.
EXPORT(decompress_begin)
int decompress_begin(double window_size, uint8_t *prefix, uint32_t prefix_size, uint32_t target_size) {
  stream_end();
  decompressor = ZSTD_createDCtx();
  if (decompressor == NULL) return -ZSTD_error_memory_allocation;
  TRY(ZSTD_DCtx_setMaxWindowSize(decompressor, (size_t)window_size));
  whole = (ZSTD_outBuffer){prefix + prefix_size, target_size, 0};
  if (prefix_size == 0) return 0;
  TRY(ZSTD_DCtx_setParameter(decompressor, ZSTD_d_stableOutBuffer, 1));
  TRY(ZSTD_DCtx_refPrefix(decompressor, prefix, prefix_size));
  return 0;
}

// Takes input and gives output, as far as there is room. `ending` says that no more input comes. Compressing, 0 means
// that all was given; decompressing, that the frame has ended.
EXPORT(step) int step(uint32_t from, uint32_t to, int ending) {
  if (from > to || to > input_capacity) return -ZSTD_error_srcSize_wrong;
  ZSTD_inBuffer in = {input, to, from};
  ZSTD_outBuffer piece = {output, output_capacity, 0};
  ZSTD_outBuffer *const out = compressor == NULL && whole.size > 0 ? &whole : &piece;
  size_t const before = out->pos;
  size_t const left = compressor != NULL
    ? ZSTD_compressStream2(compressor, out, &in, ending ? ZSTD_e_end : ZSTD_e_continue)
    : ZSTD_decompressStream(decompressor, out, &in);
  progress.input_taken = in.pos - from;
  progress.output_made = out->pos - before;
  progress.output = (const uint8_t *)out->dst + before;
  if (ZSTD_isError(left)) return (int)left;
  return left > INT32_MAX ? INT32_MAX : (int)left;
}

// What an error's code means, as a C string.
EXPORT(error_text) const char *error_text(int code) { return ZSTD_getErrorString((ZSTD_ErrorCode)-code); }
