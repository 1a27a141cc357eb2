// Embeddings of the closed-loop decoder's classes: Walker::embed and ::scatter of src/model/walker.rs. classes (N,3): x, y,
// ticks; `which` is the column.
#include "tg_cuda.h"

// to (N,K) = from (N,K) + the embeddings (classes,K) of the classes. to may be from.
// Launch: each(N*K)
extern "C" __global__ void embed(float* to, const float* from, const float* table, const int* classes, int which,
                                 const int* rows, int width) {
    const size_t i = tg_index();
    if (i >= (size_t)*rows * width) return;
    to[i] = from[i] + table[(size_t)classes[3 * (i / width) + which] * width + i % width];
}

// dtable (classes,K) += d (N,K) of the rows of each class, in their order. A block owns a class and 32 columns.
// Launch: 32 x 8 threads, (ceil(K/32), classes) blocks
extern "C" __global__ void __launch_bounds__(256) scatter(float* dtable, const float* d, const int* classes, int which,
                                                          const int* rows, int width) {
    __shared__ float parts[8][33];
    const int j = blockIdx.x * 32 + threadIdx.x, wanted = blockIdx.y;
    float sum = 0.0f;
    if (j < width)
        for (int n = threadIdx.y; n < *rows; n += 8)
            if (classes[3 * (size_t)n + which] == wanted) sum += d[(size_t)n * width + j];
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || j >= width) return;
    for (int p = 1; p < 8; ++p) sum += parts[p][threadIdx.x];
    dtable[(size_t)wanted * width + j] += sum;
}
