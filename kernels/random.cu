// Philox streams into buffers: Rng of src/rng.rs. The words are the same integers as on the CPU, normals differ in the last
// places of a double.
//
// Row r of a matrix has the numbers of (seed, stream, step), where step = (clock's step << shift) + add + r.
#include "tg_cuda.h"

static __device__ __forceinline__ uint4 block_of(const tg_u32* clock, tg_u32 stream, int shift, tg_u64 add, tg_u32 row,
                                                 tg_u32 index) {
    const tg_u64 step = (tg_step(clock) << shift) + add + row;
    return tg_philox(clock[0], clock[1], make_uint4(index, (tg_u32)step, (tg_u32)(step >> 32), stream));
}

// out (M,W) = scale normal, clamped to +-bound before it is scaled. flags: TG_ADD.
// Launch: each(M*ceil(W/4))
extern "C" __global__ void normals(float* out,                                                // (M,W)
                                   const tg_u32* clock,                                       // (4)
                                   const int* rows, int width, tg_u32 stream, int shift, tg_u64 add, double scale,
                                   double bound, int flags) {
    const size_t i = tg_index();
    const int quads = (width + 3) / 4;
    if (i >= (size_t)*rows * quads) return;
    const int row = i / quads, quad = i % quads;
    const uint4 words = block_of(clock, stream, shift, add, row, quad);
    float* const to = out + (size_t)row * width + 4 * quad;
    for (int pair = 0; pair < 2; ++pair) {
        // Box-Muller, in units of pi for the angle: those need no argument reduction.
        const double u = ((double)tg_word(words, 2 * pair) + 1.0) * (1.0 / 4294967296.0);
        const double angle = (double)tg_word(words, 2 * pair + 1) * (1.0 / 2147483648.0);
        const double radius = sqrt(-2.0 * log(u));
        const double both[2] = {radius * cospi(angle), radius * sinpi(angle)};
        for (int k = 0; k < 2 && 4 * quad + 2 * pair + k < width; ++k) {
            const float x = (float)(scale * fmin(bound, fmax(-bound, both[k])));
            float* const y = to + 2 * pair + k;
            *y = flags & TG_ADD ? *y + x : x;
        }
    }
}

// out (M,W) in [0,1), 24 bits each.
// Launch: each(M*ceil(W/4))
extern "C" __global__ void uniforms(float* out, const tg_u32* clock, const int* rows, int width, tg_u32 stream, int shift,
                                    tg_u64 add) {
    const size_t i = tg_index();
    const int quads = (width + 3) / 4;
    if (i >= (size_t)*rows * quads) return;
    const int row = i / quads, quad = i % quads;
    const uint4 words = block_of(clock, stream, shift, add, row, quad);
    for (int k = 0; k < 4 && 4 * quad + k < width; ++k)
        out[(size_t)row * width + 4 * quad + k] = (float)(tg_word(words, k) >> 8) * (1.0f / 16777216.0f);
}
