// matrix_forward of matrix.cu on tensor cores: factors rounded to TF32 (10 bits of mantissa), sums in f32. An option of
// sampling, not of training. Compute capability 8.0 and above.
//
// A block makes a tile of 64 x 64 results, 32 of the inner dimension at a time through shared memory; each of its eight warps
// makes 16 x 32 of them, in pieces of 16 x 8.
#include "tg_cuda.h"

constexpr int TILE = 64, DEPTH = 32;
// Rows this far apart: the eight rows and four columns that a warp reads at once lie in different banks.
constexpr int PITCH = DEPTH + 4;

#if !defined(TG_CPU_EMU)
static __device__ __forceinline__ tg_u32 tg_to_tf32(float x) {
    tg_u32 y;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
    return y;
}

// c (16,8) += a (16,8) b (8,8), spread over a warp. With g = lane / 4 and t = lane % 4 a lane has a(g,t), a(g+8,t), a(g,t+4),
// a(g+8,t+4); b(t,g), b(t+4,g); c(g,2t), c(g,2t+1), c(g+8,2t), c(g+8,2t+1).
static __device__ __forceinline__ void tg_mma_tf32(float (&c)[4], const tg_u32 (&a)[4], const tg_u32 (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// Rows of a matrix, `stride` apart, into shared memory; 0 for what lies outside of its n rows and k columns.
static __device__ __forceinline__ void load(tg_u32 (&to)[TILE][PITCH], const float* from, size_t stride, int n, int k) {
    const int l = threadIdx.x % DEPTH;
    for (int i = threadIdx.x / DEPTH; i < TILE; i += 256 / DEPTH)
        to[i][l] = i < n && l < k ? tg_to_tf32(from[i * stride + l]) : 0;
}

// Launch: 256 threads, (ceil(M/64), ceil(O/64)) blocks.
extern "C" __global__ void __launch_bounds__(256) matrix_forward_tf32(float* y,               // (M,O)
                                                                      const float* x,         // (M,I)
                                                                      const float* w,         // (O,I)
                                                                      const float* bias,      // (O)
                                                                      const float* bias2,     // (O)
                                                                      const float* alpha,     // (1)
                                                                      const int* rows, int inputs, int outputs, int stride,
                                                                      int flags) {
    __shared__ tg_u32 sx[TILE][PITCH], sw[TILE][PITCH];
    const int i0 = blockIdx.x * TILE, j0 = blockIdx.y * TILE;
    if (i0 >= *rows) return;
    const int m = min(TILE, *rows - i0), n = min(TILE, outputs - j0);
    const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int row = warp % 4 * 16 + g, column = warp / 4 * 32;
    float sums[4][4] = {};
    for (int l0 = 0; l0 < inputs; l0 += DEPTH) {
        load(sx, x + (size_t)i0 * inputs + l0, inputs, m, inputs - l0);
        load(sw, w + (size_t)j0 * stride + l0, stride, n, inputs - l0);
        __syncthreads();
        for (int l = t; l < DEPTH; l += 8) {
            const tg_u32 a[4] = {sx[row][l], sx[row + 8][l], sx[row][l + 4], sx[row + 8][l + 4]};
            for (int piece = 0; piece < 4; ++piece) {
                const tg_u32* const from = sw[column + piece * 8 + g];
                const tg_u32 b[2] = {from[l], from[l + 4]};
                tg_mma_tf32(sums[piece], a, b);
            }
        }
        __syncthreads();
    }
    const float factor = alpha ? *alpha : 1.0f;
    for (int piece = 0; piece < 4; ++piece)
        for (int q = 0; q < 4; ++q) {
            const int i = row + q / 2 * 8, j = column + piece * 8 + 2 * t + q % 2;
            if (i >= m || j >= n) continue;
            const float shift = (bias ? bias[j0 + j] : 0.0f) + (bias2 ? bias2[j0 + j] : 0.0f);
            tg_store(y + (size_t)(i0 + i) * outputs + j0 + j, factor * sums[piece][q] + shift, flags);
        }
}
