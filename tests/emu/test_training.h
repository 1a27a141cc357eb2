// What a step of training needs beside its networks: random numbers, losses, stage 2's own kernels, the optimiser.
#pragma once
#include "check.h"

namespace test_training {
using namespace check;

typedef std::vector<unsigned> Words;

// Philox4x32-10 in 64-bit arithmetic, and Rng::normal of src/rng.rs on top of it.
struct Reference {
    uint64_t seed, step;
    unsigned stream, index = 0, used = 4, words[4] = {};
    bool spare = false;
    double second = 0.0;

    unsigned word() {
        if (used == 4) {
            uint64_t k0 = (unsigned)seed, k1 = seed >> 32, c[4] = {index++, (unsigned)step, step >> 32, stream};
            for (int round = 0; round < 10; ++round) {
                const uint64_t p0 = 0xD2511F53u * c[0], p1 = 0xCD9E8D57u * c[2];
                const uint64_t next[4] = {(p1 >> 32) ^ c[1] ^ k0, (unsigned)p1, (p0 >> 32) ^ c[3] ^ k1, (unsigned)p0};
                std::copy(next, next + 4, c);
                k0 = (unsigned)(k0 + 0x9E3779B9u), k1 = (unsigned)(k1 + 0xBB67AE85u);
            }
            std::copy(c, c + 4, words);
            used = 0;
        }
        return words[used++];
    }

    double normal() {
        if (spare) return spare = false, second;
        const double u = (word() + 1.0) / 4294967296.0, angle = word() * 2.0 * M_PI / 4294967296.0;
        const double radius = std::sqrt(-2.0 * std::log(u));
        return second = radius * std::sin(angle), spare = true, radius * std::cos(angle);
    }
};

inline void philox() {
    const uint4 zeros = tg_philox(0, 0, make_uint4(0, 0, 0, 0));
    const uint4 pi = tg_philox(0xa4093822u, 0x299f31d0u, make_uint4(0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u));
    const bool good = zeros.x == 0x6627e8d5u && zeros.w == 0x9b00dbd8u && pi.x == 0xd16cfe09u && pi.z == 0x5001e420u;
    report(good, "tg_philox", "not the known answers of Random123");
}

inline void random_streams(int M, int W) {
    const uint64_t seed = 0x123456789abcdefu, step = 0xfffffffeu;  // a step whose sum carries into the high word
    const Words clock = {(unsigned)seed, (unsigned)(seed >> 32), (unsigned)step, 0};
    const int rows = M;
    Doubles normal, clamped, uniform, mask;
    for (int r = 0; r < M; ++r) {
        Reference a = {seed, (step << 4) + 3 + r, 11}, b = {seed, step + r, 10};
        for (int j = 0; j < W; ++j) {
            const double x = a.normal();
            normal.push_back(x);
            clamped.push_back(0.3 * std::min(0.5, std::max(-0.5, x)));
            uniform.push_back((b.word() >> 8) / 16777216.0);
        }
    }
    const int quads = M * ((W + 3) / 4);
    same("normals", normal, 1e-7, [&] {
        Floats out = unknown(M * W);
        each(quads + 300, [&] { normals(out.data(), clock.data(), &rows, W, 11, 4, 3, 1.0, INFINITY, 0); });
        return out;
    });
    same("normals clamped", clamped, 1e-7, [&] {
        Floats out(M * W, 0.0f);
        each(quads, [&] { normals(out.data(), clock.data(), &rows, W, 11, 4, 3, 0.3, 0.5, TG_ADD); });
        return out;
    });
    same("uniforms", uniform, 0.0, [&] {
        Floats out = unknown(M * W);
        each(quads, [&] { uniforms(out.data(), clock.data(), &rows, W, 10, 0, 0); });
        return out;
    });
}

inline void dropout(int B, int T, int W) {
    const Steps s = Steps::falling(B, T);
    const uint64_t seed = 77, step = uint64_t(5) << 30;
    const Words clock = {77, 0, (unsigned)step, (unsigned)(step >> 32)};
    const unsigned site = 513, threshold = 0.25 * 4294967296.0, quads = (W + 3) / 4;
    Doubles mask(s.total() * W);
    for (int b = 0; b < B; ++b)
        for (int t = 0; t < s.lengths[b]; ++t)
            for (int j = 0; j < W; ++j) {
                Reference r = {seed, step << 12 | site, 8};
                r.index = (t * B + b) * quads + j % quads;
                for (unsigned k = 0; k < j / quads; ++k) r.word();
                mask[s.at(b, t) * W + j] = r.word() >= threshold ? 1.25f : 0.0;
            }
    same("dropout_mask", mask, 0.0, [&] {
        Floats out = unknown(s.total() * W);
        each(s.total() * quads + 300, [&] {
            dropout_mask(out.data(), clock.data(), s.head.data(), s.offsets.data(), s.times.data(), W, site, threshold, 1.25f);
        });
        return out;
    });
}

inline void clock_and_ring() {
    Words clock = {1, 2, 0xffffffffu, 4};
    Doubles ring(3 * 8, 0.0), values = {1, 2, 3, 4, 5, 6, 7, 8};
    int bad = 0;
    emu::launch(dim3(1), dim3(1), 0, [&] { end_iteration(ring.data(), clock.data(), &bad, 3); });
    report(clock == Words{1, 2, 0, 5}, "end_iteration", "no carry");
    clock[2] = 4, clock[3] = 0;
    emu::launch(dim3(1), dim3(1), 0, [&] { store_losses(ring.data(), &bad, values.data(), clock.data(), 3); });
    const bool stored = bad == 0 && ring[8] == 1 && ring[15] == 8 && ring[0] == 0 && ring[16] == 0;
    values[3] = NAN;
    emu::launch(dim3(1), dim3(1), 0, [&] { store_losses(ring.data(), &bad, values.data(), clock.data(), 3); });
    report(stored && bad == 1, "store_losses", "place or flag");
    const Floats slots = numbers(3 * 5, 1);
    Floats slot = unknown(5);
    each(5, [&] { take_slot(slot.data(), slots.data(), clock.data(), 3, 5); });
    const size_t place = ((tg_u64)clock[3] << 32 | clock[2]) % 3;
    report(memcmp(slot.data(), &slots[5 * place], 5 * sizeof(float)) == 0, "take_slot", "not the clock's");
    emu::launch(dim3(1), dim3(1), 0, [&] { end_iteration(ring.data(), clock.data(), &bad, 3); });
    report(clock == Words{1, 2, 5, 0} && ring[8 * place + 7] == 1.0, "end_iteration", "clock or flag");
}

// Batches as src/data/batches.rs takes them, one bin after the other: shares, Floyd's method, repeats in small bins.
inline void choice(int M, const Ints& sizes) {
    const Words clock = {7, 8, 5, 1};
    const int bins = sizes.size(), draw = 2;
    const tg_u64 iteration = (tg_u64)clock[3] << 32 | clock[2], step = iteration << 16 | draw;
    Ints items, ends, expected;
    for (int size : sizes) {
        for (int i = 0; i < size; ++i) items.push_back(1000 - 3 * items.size());
        ends.push_back(items.size());
    }
    const int rest = M % bins, first = (iteration + draw) * rest % bins;
    for (int k = 0; k < bins; ++k) {
        const int count = M / bins + ((k + bins - first) % bins < rest), start = expected.size();
        const int* const bin = &items[ends[k] - sizes[k]];
        Ints taken;
        for (int i = 0; i < count; ++i) {
            const int word = start + i, last = sizes[k] < count ? sizes[k] - 1 : sizes[k] - count + i;
            const uint4 block = tg_philox(clock[0], clock[1], make_uint4(word / 4, (tg_u32)step, (tg_u32)(step >> 32), 9));
            const tg_u32 words[4] = {block.x, block.y, block.z, block.w};
            int pick = (tg_u64)words[word % 4] * (last + 1) >> 32;
            if (sizes[k] >= count && std::count(taken.begin(), taken.end(), pick)) pick = last;
            taken.push_back(pick);
            expected.push_back(bin[pick]);
        }
    }
    same("choose_rows M " + std::to_string(M), Doubles(expected.begin(), expected.end()), 1e-9, [&] {
        Ints chosen(M, -1), taken(1001);
        each(bins, [&] { choose_rows(chosen.data(), items.data(), ends.data(), clock.data(), taken.data(), &M, bins, 9, draw); });
        report(taken == Ints(1001), "choose_rows", "rows stay taken");
        return Floats(chosen.begin(), chosen.end());
    });
}

inline void errors_and_sums(int M, int W) {
    const int rows = M;
    const size_t n = (size_t)M * W, parts = (n + 1023) / 1024;
    const Floats y = numbers(n, 1), target = numbers(n, 2);
    Doubles expected;
    double sum = 0.0, mean = 0.0;
    for (size_t i = 0; i < n; ++i) {
        expected.push_back(3.0 * (y[i] - target[i]) / n);
        sum += (double)(y[i] - target[i]) * (y[i] - target[i]) / n;
        if (i < (size_t)M) mean += y[i] / M;
    }
    append(expected, Doubles{7.0 + 2.0 * sum, -mean});
    same("squared_error", expected, 1e-6, [&] {
        Floats d = unknown(n);
        Doubles partials(parts, NAN), out = {7.0, NAN};
        blocks(parts + 2, 0, [&] { squared_error(d.data(), partials.data(), y.data(), target.data(), 3.0f, &rows, W); });
        blocks(1, 0, [&] { sum_doubles(&out[0], partials.data(), 2.0, &rows, W, 1024, TG_ADD); });
        blocks(1, 0, [&] { mean_floats(&out[1], y.data(), -1.0, &rows, 0); });
        append(d, out);
        return d;
    });
}

// Rows of W numbers, of which the first K are logits.
inline void cross_entropies(int B, int T, int K, int W) {
    const Steps s = Steps::falling(B, T);
    const int N = s.total(), *head = s.head.data(), *offsets = s.offsets.data(), *lengths = s.lengths.data(), *times = s.times.data();
    const Floats stop = numbers(N, 1, 30.0f), rows = numbers(N * W, 2, 5.0f);
    Ints classes;
    for (int n = 0; n < N; ++n) {
        classes.resize(n * TG_CLASSES, -1);
        classes.insert(classes.end(), {-1, n * 7 % K, n * 5 % K});
    }
    Doubles binary(2 * N), categorical[2] = {Doubles(N * W + N), Doubles(N * W + N)};
    for (int b = 0; b < B; ++b)
        for (int t = 0; t < s.lengths[b]; ++t) {
            const int n = s.at(b, t);
            const int left = s.lengths[b] - 1 - t;
            if (left == 0) continue;
            const double x = stop[n];
            binary[n] = (sigmoid(x) - (left == 1)) / N;
            binary[N + n] = -std::log(std::max(1e-300, left == 1 ? sigmoid(x) : sigmoid(-x))) / N;
            double sum = 0.0;
            for (int k = 0; k < K; ++k) sum += std::exp((double)rows[n * W + k]);
            for (int which = left == 1 ? 2 : 1; which < 3; ++which) {  // where the last event goes is known
                const int target = classes[TG_CLASSES * n + which];
                Doubles& out = categorical[which - 1];
                for (int k = 0; k < K; ++k) out[n * W + k] = (std::exp((double)rows[n * W + k]) / sum - (k == target)) / N;
                for (int k = K; k < W; ++k) out[n * W + k] = rows[n * W + k];
                out[N * W + n] = (std::log(sum) - rows[n * W + target]) / N;
            }
        }
    same("binary_loss", binary, 1e-6, [&] {
        Floats d = stop;
        Doubles loss(N, NAN);
        each(N + 300, [&] { binary_loss(d.data(), loss.data(), head, offsets, lengths, times); });
        append(d, loss);
        return d;
    });
    for (int which = 1; which < 3; ++which)
        same("categorical_loss", categorical[which - 1], 1e-6, [&] {
            Floats d = rows;
            Doubles loss(N, NAN);
            warps(N + 9, [&] { categorical_loss(d.data(), loss.data(), classes.data(), which, head, offsets, lengths, times, K, W); });
            append(d, loss);
            return d;
        });
}

inline void pooling(int B, int T, int L) {
    const Steps s = Steps::falling(B, T);
    const int N = s.total(), *head = s.head.data(), *offsets = s.offsets.data(), *lengths = s.lengths.data(), *times = s.times.data();
    const Floats h = numbers(N * L, 1), scores = numbers(N, 2, 3.0f), d = numbers(B * 3 * L, 3);
    Doubles share(N), attended(B * L), dscore(N), dh(N * L), pooled(B * 3 * L), dpooled(N * L);
    for (int b = 0; b < B; ++b) {
        double sum = 0.0, mean = 0.0;
        for (int t = 0; t < s.lengths[b]; ++t) sum += std::exp((double)scores[s.at(b, t)]);
        for (int t = 0; t < s.lengths[b]; ++t) {
            const int n = s.at(b, t);
            share[n] = std::exp((double)scores[n]) / sum;
            for (int j = 0; j < L; ++j) {
                attended[b * L + j] += share[n] * h[n * L + j];
                dscore[n] += (double)h[n * L + j] * d[b * L + j];
                dh[n * L + j] = share[n] * d[b * L + j];
            }
            mean += share[n] * dscore[n];
        }
        for (int t = 0; t < s.lengths[b]; ++t) dscore[s.at(b, t)] = share[s.at(b, t)] * (dscore[s.at(b, t)] - mean);
        for (int j = 0; j < L; ++j) {
            const int length = s.lengths[b], last = s.at(b, length - 1);
            double *out = &pooled[b * 3 * L + j], most = -1e9;
            const float* in = &d[b * 3 * L + j];
            int largest = 0;
            for (int t = 0; t < length; ++t) {
                const double x = h[s.at(b, t) * L + j];
                out[L] += x / length;
                if (x > most) most = x, largest = t;
                dpooled[s.at(b, t) * L + j] += in[L] / length;
            }
            out[0] = h[last * L + j], out[2 * L] = most;
            dpooled[last * L + j] += in[0];
            dpooled[s.at(b, largest) * L + j] += in[2 * L];
        }
    }
    append(attended, share);
    append(attended, dscore);
    append(attended, dh);
    same("attend and back", attended, 3e-6, [&] {
        Floats out = unknown(B * L), shares = scores, ds = unknown(N), dx = unknown(N * L);
        blocks(B + 2, 0, [&] { attend(out.data(), shares.data(), h.data(), head, offsets, lengths, L); });
        blocks(B + 2, 0, [&] { attend_backward(ds.data(), dx.data(), d.data(), shares.data(), h.data(), head, offsets, lengths, L); });
        append(out, shares);
        append(out, ds);
        append(out, dx);
        return out;
    });
    append(pooled, dpooled);
    same("pool_last, _mean, _max and back", pooled, 3e-6, [&] {
        Floats out = unknown(B * 3 * L), dx = unknown(N * L);
        Ints largest(B * L, -1);
        each(B * L + 300, [&] { pool_last(out.data(), h.data(), head, offsets, lengths, L, 3 * L); });
        each(B * L + 300, [&] { pool_mean(&out[L], h.data(), head, offsets, lengths, L, 3 * L); });
        each(B * L + 300, [&] { pool_max(&out[2 * L], largest.data(), h.data(), head, offsets, lengths, L, 3 * L); });
        each(N * L + 300, [&] {
            pool_backward(dx.data(), &d[0], &d[L], &d[2 * L], largest.data(), head, offsets, lengths, times, L, 3 * L);
        });
        append(out, dx);
        return out;
    });
}

inline void gan_kernels(int M, int S) {
    const int rows = M;
    const Floats real = numbers(M * S, 1), fake = numbers(M * S, 2), old = numbers(M * S, 3);
    Floats alpha = numbers(M, 4);
    Doubles mixed, direction(M * S), penalties;
    for (int i = 0; i < M; ++i) {
        double square = 0.0;
        for (int j = 0; j < S; ++j) {
            mixed.push_back(alpha[i] * real[i * S + j] + (1.0 - alpha[i]) * fake[i * S + j]);
            square += (double)fake[i * S + j] * fake[i * S + j];
        }
        const double norm = std::sqrt(square);
        penalties.push_back((norm - 1) * (norm - 1) / M);
        for (int j = 0; j < S; ++j) direction[i * S + j] = 20.0 * (norm - 1) / norm * fake[i * S + j] / M;
    }
    same("interpolate", mixed, 1e-6, [&] {
        Floats out = unknown(M * S);
        each(M * S + 300, [&] { interpolate(out.data(), real.data(), fake.data(), alpha.data(), &rows, S); });
        return out;
    });
    append(direction, penalties);
    same("penalty_direction", direction, 1e-6, [&] {
        Floats v = unknown(M * S);
        Doubles penalty(M, NAN);
        warps(M + 5, [&] { penalty_direction(v.data(), penalty.data(), fake.data(), 10.0, &rows, S); });
        append(v, penalty);
        return v;
    });
    // The loss by its definition, its gradient by differences.
    const auto loss = [&](const Doubles& z, int j) {
        double moments[2][2] = {};
        for (int i = 0; i < M; ++i) moments[0][0] += z[i] / M, moments[1][0] += real[i * S + j] / (double)M;
        for (int i = 0; i < M; ++i) {
            moments[0][1] += std::pow(z[i] - moments[0][0], 2) / (M - 1);
            moments[1][1] += std::pow(real[i * S + j] - moments[1][0], 2) / (M - 1);
        }
        const double mean = moments[0][0] - moments[1][0], deviation = std::sqrt(moments[0][1]) - std::sqrt(moments[1][1]);
        return (mean * mean + deviation * deviation) / S;
    };
    Doubles expected(old.begin(), old.end()), losses;
    for (int j = 0; j < S && M > 1; ++j) {
        Doubles z(M);
        for (int i = 0; i < M; ++i) z[i] = fake[i * S + j];
        losses.push_back(loss(z, j));
        for (int i = 0; i < M; ++i) {
            Doubles up = z, down = z;
            up[i] += 1e-5, down[i] -= 1e-5;
            expected[i * S + j] += 0.5 * (loss(up, j) - loss(down, j)) / 2e-5;
        }
    }
    if (M == 1) return;
    append(expected, losses);
    same("feature_matching", expected, 1e-6, [&] {
        Floats dz = old;
        Doubles out(S, NAN);
        each(S, [&] { feature_matching(dz.data(), out.data(), fake.data(), real.data(), 0.5, &rows, S); });
        append(dz, out);
        return dz;
    });
}

// One step of Adam, then one that must change nothing.
inline void optimiser(int P, bool adaptive) {
    const Floats w = numbers(P, 1), g = numbers(P, 2), m = numbers(P, 3);
    Floats v = numbers(P, 4);
    for (float& x : v) x = std::fabs(x);
    const float settings[12] = {0.01f, 0.99f, 0.9f, 0.1f, 0.999f, 0.001f, 0.002f, 1.5f, 1e-8f, adaptive ? 1.0f : 0.0f, 0.5f, 0.0f};
    double square = 0.0;
    for (float x : g) square += (double)x * x;
    const double norm = std::sqrt(square), scale = std::min(1.0, 0.5 / (norm + 1e-6));
    Doubles moved, first, second, average;
    for (int i = 0; i < P; ++i) {
        const double gradient = g[i] * scale + 0.01f * w[i];
        first.push_back(0.9f * m[i] + 0.1f * gradient);
        second.push_back(0.999f * v[i] + 0.001f * gradient * gradient);
        const double by = adaptive ? first[i] / (std::sqrt(second[i]) * 1.5 + 1e-8) : first[i];
        moved.push_back(w[i] * 0.99f - 0.002f * by);
        average.push_back(0.75 * g[i] + 0.25 * moved[i]);
    }
    append(moved, first);
    append(moved, second);
    append(moved, average);
    append(moved, Doubles{norm, 0.0, 1.0, 0.0});  // norm, failed; then failed, whether anything moved
    const size_t parts = (P + 4095) / 4096;
    same("adam_step", moved, 2e-6, [&] {
        Floats a = w, b = m, c = v, kept = g, bad = g;
        Doubles g_squares(parts, NAN), w_squares(parts, NAN);
        double length = NAN;
        int failed = 0;
        const float some = 0.75f, none = 0.0f;
        const auto step = [&](const Floats& gradient) {
            blocks(parts, 0, [&] { sum_squares(g_squares.data(), w_squares.data(), gradient.data(), a.data(), P); });
            each(P, [&] {
                adam_step(a.data(), b.data(), c.data(), &length, &failed, gradient.data(), g_squares.data(), w_squares.data(), settings, P);
            });
        };
        step(g);
        each(P, [&] { move_average(kept.data(), a.data(), &some, &failed, P); });
        Floats out = a;
        append(out, b);
        append(out, c);
        append(out, kept);
        append(out, Doubles{length, (double)failed});
        bad[P / 2] = NAN;
        const Floats before = a;
        step(bad);
        step(g);  // a good one after a bad one: still nothing
        each(P, [&] { move_average(kept.data(), g.data(), &none, &failed, P); });
        append(out, Doubles{(double)failed, a == before && kept[0] == out[3 * P] ? 0.0 : 1.0});
        return out;
    });
}

inline void all() {
    philox();
    clock_and_ring();
    choice(1, {5});
    choice(64, {7, 30, 6, 9, 200});
    choice(33, {1, 2, 3});
    for (auto [M, W] : {std::pair(1, 1), {3, 12}, {65, 17}}) {
        random_streams(M, W);
        errors_and_sums(M, W);
        gan_kernels(M, W);
    }
    for (int B : {1, 3, 65})
        for (int T : {1, 2, 13}) {
            dropout(B, T, 17);
            cross_entropies(B, T, 55, T == 2 ? 55 : 58);
            pooling(B, T, 12);
        }
    for (bool adaptive : {false, true}) {
        optimiser(1, adaptive);
        optimiser(5000, adaptive);
    }
}

}  // namespace test_training
