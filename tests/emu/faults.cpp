// Kernels with planted faults, which the harness must notice. `faults NAME` must fail: see `run`.
//     missing-barrier    other results in another order of threads: exit status 1
//     divergent-barrier  a deadlock: abort
//     global, shared     a write past the end of device memory or of shared memory: AddressSanitizer
#include <numeric>

#include "check.h"

namespace {

// sum (1) of x (256), through shared memory, without the barrier between writing and reading it.
void missing_barrier(float* sum, const float* x) {
    TG_SHARED(float, room);
    room[threadIdx.x] = x[threadIdx.x];
    if (threadIdx.x > 0) return;
    *sum = 0.0f;
    for (int i = 0; i < 256; ++i) *sum += room[i];
}

void divergent_barrier(float* x) {
    if (threadIdx.x % 2 == 0) {
        __syncthreads();
        x[threadIdx.x] = 1.0f;
        tg_warp_sum(x[threadIdx.x]);
    } else {
        tg_warp_sum(x[threadIdx.x]);
        __syncthreads();
    }
}

void past_the_end(float* x, bool shared) {
    TG_SHARED(float, room);
    (shared ? room : x)[threadIdx.x + 1] = 1.0f;
}

}  // namespace

int main(int count, char** arguments) {
    const std::string fault = count > 1 ? arguments[1] : "";
    Floats x = check::numbers(256, 1), sum(1);
    if (fault == "missing-barrier")
        check::same(fault, {std::accumulate(x.begin(), x.end(), 0.0)}, 1e-5, [&] {
            check::blocks(1, 1024, [&] { missing_barrier(sum.data(), x.data()); });
            return sum;
        });
    if (fault == "divergent-barrier") check::blocks(1, 0, [&] { divergent_barrier(x.data()); });
    if (fault == "global") check::blocks(1, 1024, [&] { past_the_end(x.data(), false); });
    if (fault == "shared") check::blocks(1, 1024, [&] { past_the_end(x.data(), true); });
    return check::failed;
}
