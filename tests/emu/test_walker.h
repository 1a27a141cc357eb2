// Profiles of heads against src/model/head.rs done over again in double.
#pragma once
#include "check.h"

namespace test_walker {
using namespace check;

// Rows of N events: logits of C classes and gates of `each` profiles for every anchor. A third of the anchors say nothing.
inline void profiles(int N, int C, int anchors, int each) {
    const int rows = N, gates = anchors * each, W = C + gates, columns = 2 * C - 1, first = anchors == TG_X_ANCHORS ? 3 : 5;
    const Floats logits = numbers(N * W, 1), table = numbers(gates * columns, 2), old = numbers(gates * columns, 3);
    Ints classes(N * TG_CLASSES, -7);
    for (int n = 0; n < N; ++n)
        for (int a = 0; a < anchors; ++a) classes[n * TG_CLASSES + first + a] = (n + a) % 3 ? (n * 7 + a * (C - 1)) % C : -1;
    Doubles forward(logits.begin(), logits.end()), backward = forward, dtable(old.begin(), old.end());
    for (int n = 0; n < N; ++n)
        for (int k = 0; k < gates; ++k) {
            const int anchor = classes[n * TG_CLASSES + first + k / each];
            backward[n * W + C + k] = 0.0;
            for (int c = 0; c < C && anchor >= 0; ++c) {
                const int at = k * columns + C - 1 + c - anchor;
                forward[n * W + c] += (double)logits[n * W + C + k] * table[at];
                backward[n * W + C + k] += (double)logits[n * W + c] * table[at];
                dtable[at] += (double)logits[n * W + C + k] * logits[n * W + c];
            }
        }
    const std::string of = " N " + std::to_string(N) + " C " + std::to_string(C);
    same("add_profiles" + of, forward, 1e-6, [&] {
        Floats out = logits;
        check::each(N * C + 300, [&] { add_profiles(out.data(), table.data(), classes.data(), first, each, &rows, C, W); });
        return out;
    });
    append(backward, dtable);
    // In one launch, and in one for larger batches with another behind it.
    for (int chunks = (N + 255) / 256; chunks < (N + 255) / 256 + 2; ++chunks)
        same("profiles_backward" + of, backward, 3e-6, [&] {
            Floats d = logits, to = old, partials = unknown(chunks * gates * columns);
            float* const apart = chunks > 1 ? partials.data() : nullptr;
            emu::launch(dim3(gates, chunks), dim3(256), 0, [&] {
                profiles_backward(apart, to.data(), d.data(), table.data(), classes.data(), first, each, &rows, C, W);
            });
            if (apart)
                check::each(gates * columns, [&] {
                    matrix_gradient_add(to.data(), nullptr, nullptr, apart, &rows, columns, gates, columns, TG_ADD);
                });
            append(d, to);
            return d;
        });
}

inline void all() {
    profiles(1, 3, TG_X_ANCHORS, 1);
    profiles(33, 55, TG_Y_ANCHORS, 4);
    profiles(256, 7, TG_X_ANCHORS, 3);
    profiles(517, 150, TG_X_ANCHORS, 1);  // a profile has more columns than a block has threads
}

}  // namespace test_walker
