// Packed sequences: what src/nn/steps.rs, sum_steps and the dropout masks do. Tables: see tg_cuda.h.
#include "tg_cuda.h"

// before (N,W) = x one step earlier; at step 0 initial (B), its rows `initial_stride` apart, or 0 where it is NULL.
// Launch: each(N*W)
extern "C" __global__ void shift_steps(float* before,                                         // (N,W)
                                       const float* x,                                        // (N,W)
                                       const float* initial, int initial_stride,              // (B,W)
                                       const int* head, const int* offsets, const int* times, int width) {
    const size_t i = tg_index();
    if (i >= (size_t)head[2] * width) return;
    const int n = i / width, j = i % width, t = times[n], row = n - offsets[t];
    if (t > 0)
        before[i] = x[(size_t)(offsets[t - 1] + row) * width + j];
    else
        before[i] = initial ? initial[(size_t)row * initial_stride + j] : 0.0f;
}

// sums (B,W) = x (N,W) summed over the steps of each row
// Launch: each(B*W)
extern "C" __global__ void sum_steps(float* sums, const float* x, const int* head, const int* offsets, const int* lengths,
                                     int width) {
    const size_t i = tg_index();
    if (i >= (size_t)head[0] * width) return;
    const int row = i / width, j = i % width;
    float sum = 0.0f;
    for (int t = 0; t < lengths[row]; ++t) sum += x[(size_t)(offsets[t] + row) * width + j];
    sums[i] = sum;
}

// x (N,W) = shared (B,W) at every step of its row. flags: TG_ADD.
// Launch: each(N*W)
extern "C" __global__ void spread_steps(float* x, const float* shared, const int* head, const int* offsets, const int* times,
                                        int width, int flags) {
    const size_t i = tg_index();
    if (i >= (size_t)head[2] * width) return;
    const int n = i / width, j = i % width, row = n - offsets[times[n]];
    const float y = shared[(size_t)row * width + j];
    x[i] = flags & TG_ADD ? x[i] + y : y;
}

// positions (N,32): sines, then cosines, of t / seq_len times falling frequencies. seq_lens (B).
// Launch: each(N*32)
extern "C" __global__ void encode_positions(float* positions, const int* seq_lens, const int* head, const int* offsets,
                                            const int* times) {
    const size_t i = tg_index();
    if (i >= (size_t)head[2] * 32) return;
    const int n = i / 32, j = i % 32, t = times[n], row = n - offsets[t];
    const double frequency = pow(10000.0, -2.0 * (j % 16) / 32.0);
    // 2 * 3.14159, five decimals of pi as trained models expect, in units of pi: those need no argument reduction.
    const double angle = (double)t / (double)seq_lens[row] * frequency * (6.28318 / 3.14159265358979323846);
    positions[i] = (float)(j < 16 ? sinpi(angle) : cospi(angle));
}

// mask (N,W): `keep` = 1/(1-p) or 0, as Dropout::apply of src/nn/dropout.rs draws it. threshold: p 2^32. site < 4096.
// Launch: each(N*ceil(W/4))
extern "C" __global__ void dropout_mask(float* mask,                                          // (N,W)
                                        const tg_u32* clock,                                  // (4)
                                        const int* head, const int* offsets, const int* times, int width, tg_u32 site,
                                        tg_u32 threshold, float keep) {
    const size_t i = tg_index();
    const int quads = (width + 3) / 4;
    if (i >= (size_t)head[2] * quads) return;
    const int n = i / quads, quad = i % quads, t = times[n], row = n - offsets[t];
    const tg_u64 step = tg_step(clock) << 12 | site;
    const tg_u32 index = ((tg_u32)t * (tg_u32)head[0] + (tg_u32)row) * (tg_u32)quads + (tg_u32)quad;
    const uint4 words = tg_philox(clock[0], clock[1], make_uint4(index, (tg_u32)step, (tg_u32)(step >> 32), 8));
    float* const out = mask + (size_t)n * width;
    for (int k = 0, j = quad; k < 4 && j < width; ++k, j += quads) out[j] = tg_word(words, k) >= threshold ? keep : 0.0f;
}
