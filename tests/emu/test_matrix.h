// Products and the spectral norm against plain double loops.
#pragma once
#include "check.h"

namespace test_matrix {
using namespace check;

// Sums of at most 512 products of normal numbers.
constexpr double TOLERANCE = 3e-6;

inline dim3 tiles(int side, int m, int n, int splits = 1) { return dim3((m + side - 1) / side, (n + side - 1) / side, splits); }

// The same result from tiles of both sizes, to the bit.
inline Floats both(const std::function<Floats(int side)>& run) {
    const Floats narrow = run(32), wide = run(64);
    return memcmp(narrow.data(), wide.data(), wide.size() * sizeof(float)) ? Floats() : wide;
}

// Sizes that end inside a tile, at its edge and beyond it, in each of the three dimensions.
struct Shape {
    int M, I, O;
};
const Shape SHAPES[] = {{1, 1, 1}, {3, 12, 17}, {64, 64, 128}, {65, 17, 33}, {32, 128, 1}, {300, 9, 40}};

inline void forward_and_backward(Shape s) {
    const int stride = s.I + 3, rows = s.M, wider = s.M + 40;  // the grid is made for a larger batch
    const Floats x = numbers(s.M * s.I, 1), w = numbers(s.O * stride, 2), bias = numbers(s.O, 3), bias2 = numbers(s.O, 4);
    const Floats old = numbers(s.M * s.O, 5), dy = numbers(s.M * s.O, 6), alpha = {0.75f};
    const Floats left = numbers(s.M * s.I, 7);
    Doubles plain, scaled, active, dx, through;
    for (int i = 0; i < s.M; ++i)
        for (int o = 0; o < s.O; ++o) {
            double sum = 0.0;
            for (int k = 0; k < s.I; ++k) sum += (double)x[i * s.I + k] * w[o * stride + k];
            plain.push_back(sum);
            scaled.push_back(0.75 * sum + old[i * s.O + o]);
            active.push_back(leaky(sum + bias[o] + bias2[o]));
        }
    for (int i = 0; i < s.M; ++i)
        for (int k = 0; k < s.I; ++k) {
            double sum = 0.0;
            for (int o = 0; o < s.O; ++o) sum += (double)dy[i * s.O + o] * w[o * stride + k];
            dx.push_back(0.75 * sum);
            through.push_back(sum * (left[i * s.I + k] > 0.0f ? 1.0f : 0.2f));
        }
    const auto forward = [&](const Floats& old, const float* b, const float* b2, const float* a, int flags) {
        return both([&](int side) {
            Floats y = old;
            const auto kernel = side == 64 ? matrix_forward_wide : matrix_forward;
            emu::launch(tiles(side, wider, s.O), dim3(256), 0,
                        [&] { kernel(y.data(), x.data(), w.data(), b, b2, a, &rows, s.I, s.O, stride, flags); });
            return y;
        });
    };
    same("matrix_forward", plain, TOLERANCE * std::sqrt(s.I), [&] { return forward(unknown(s.M * s.O), nullptr, nullptr, nullptr, 0); });
    same("matrix_forward added", scaled, TOLERANCE * std::sqrt(s.I), [&] { return forward(old, nullptr, nullptr, alpha.data(), TG_ADD); });
    same("matrix_forward leaky", active, TOLERANCE * std::sqrt(s.I),
         [&] { return forward(unknown(s.M * s.O), bias.data(), bias2.data(), nullptr, TG_LEAKY); });
    // Each factor is off by 2^-11 at most.
    same("matrix_forward_tf32", active, std::ldexp(1.0, -9), [&] {
        Floats y = unknown(s.M * s.O);
        emu::launch(dim3((wider + 63) / 64, (s.O + 63) / 64), dim3(256), 0, [&] {
            matrix_forward_tf32(y.data(), x.data(), w.data(), bias.data(), bias2.data(), nullptr, &rows, s.I, s.O, stride, TG_LEAKY);
        });
        return y;
    });
    const auto backward = [&](const float* a, const float* x) {
        return both([&](int side) {
            Floats out = unknown(s.M * s.I);
            const auto kernel = side == 64 ? matrix_backward_wide : matrix_backward;
            emu::launch(tiles(side, wider, s.I), dim3(256), 0,
                        [&] { kernel(out.data(), dy.data(), w.data(), a, x, &rows, s.I, s.O, stride, 0); });
            return out;
        });
    };
    same("matrix_backward", dx, TOLERANCE * std::sqrt(s.O), [&] { return backward(alpha.data(), nullptr); });
    same("matrix_backward leaky", through, TOLERANCE * std::sqrt(s.O), [&] { return backward(nullptr, left.data()); });
}

inline void gradient(Shape s) {
    const int stride = s.I + 2, rows = s.M, splits = (s.M + 255) / 256;
    const Floats x = numbers(s.M * s.I, 1), dy = numbers(s.M * s.O, 2), old = numbers(s.O * stride, 3), bias = numbers(s.O, 4);
    // Added to what is there, with so many biases; without them, written over it.
    for (int biases : {0, 1, 2}) {
        const int flags = biases ? TG_ADD : 0;
        Doubles expected(old.begin(), old.end()), db(bias.begin(), bias.end());
        for (int o = 0; o < s.O; ++o) {
            for (int k = 0; k < s.I; ++k) {
                if (!flags) expected[o * stride + k] = 0.0;
                for (int i = 0; i < s.M; ++i) expected[o * stride + k] += (double)dy[i * s.O + o] * x[i * s.I + k];
            }
            for (int i = 0; i < s.M && biases; ++i) db[o] += dy[i * s.O + o];
        }
        append(expected, db);
        append(expected, biases == 2 ? db : Doubles(bias.begin(), bias.end()));
        const auto run = [&](bool apart) {
            return both([&](int side) {
                Floats dw = old, b = bias, b2 = bias, partials = unknown(splits * s.O * (s.I + 1));
                float *const to = biases ? b.data() : nullptr, *const to2 = biases == 2 ? b2.data() : nullptr;
                float* const parts = apart ? partials.data() : nullptr;
                const auto kernel = side == 64 ? matrix_gradient_wide : matrix_gradient;
                dim3 grid = tiles(side, s.O, s.I, splits + apart);
                grid.y += biases ? 1 : 0;
                emu::launch(grid, dim3(256), 0,
                            [&] { kernel(parts, dw.data(), to, to2, dy.data(), x.data(), &rows, s.I, s.O, stride, flags); });
                if (apart)
                    each(s.O * (s.I + 1), [&] { matrix_gradient_add(dw.data(), to, to2, parts, &rows, s.I, s.O, stride, flags); });
                append(dw, b);
                append(dw, b2);
                return dw;
            });
        };
        const double tolerance = TOLERANCE * std::sqrt(s.M);
        same("matrix_gradient_add", expected, tolerance, [&] { return run(true); });
        if (splits == 1) same("matrix_gradient", expected, tolerance, [&] { return run(false); });
    }
}

inline void transpose(Shape s) {
    const int stride = s.I + 1;
    const Floats w = numbers(s.O * stride, 4);
    Doubles turned;
    for (int k = 0; k < s.I; ++k)
        for (int o = 0; o < s.O; ++o) turned.push_back(w[o * stride + k]);
    same("matrix_transpose", turned, 0.0, [&] {
        Floats out = unknown(s.O * s.I);
        each(s.O * s.I, [&] { matrix_transpose(out.data(), w.data(), s.I, s.O, stride); });
        return out;
    });
}

inline void to_unit(Doubles& v) {
    double square = 0.0;
    for (double x : v) square += x * x;
    for (double& x : v) x /= std::max(std::sqrt(square), 1e-12);
}

inline void spectral_norm(int I, int O, bool training) {
    const int stride = I + 1;
    const Floats w = numbers(O * stride, 1), u0 = numbers(O, 2), v0 = numbers(I, 3), dw = numbers(O * I, 4);
    const Floats old = numbers(O * stride, 5);
    Doubles u(u0.begin(), u0.end()), v(v0.begin(), v0.end()), wv(O);
    const auto times_v = [&] {
        for (int o = 0; o < O; ++o) {
            wv[o] = 0.0;
            for (int i = 0; i < I; ++i) wv[o] += w[o * stride + i] * v[i];
        }
    };
    if (training) {
        for (int i = 0; i < I; ++i) {
            v[i] = 0.0;
            for (int o = 0; o < O; ++o) v[i] += u[o] * w[o * stride + i];
        }
        to_unit(v);
        times_v();
        u = wv;
        to_unit(u);
    }
    times_v();
    double sigma = 0.0, along = 0.0;
    for (int o = 0; o < O; ++o) sigma += wv[o] * u[o];
    for (int k = 0; k < O * I; ++k) along += (double)dw[k] * w[k / I * stride + k % I];
    Doubles expected = {1.0 / sigma};
    append(expected, u);
    append(expected, v);
    append(expected, u);
    append(expected, v);
    Doubles grads(old.begin(), old.end());
    for (int k = 0; k < O * I; ++k) grads[k / I * stride + k % I] += dw[k] / sigma - along / (sigma * sigma) * u[k / I] * v[k % I];
    append(expected, grads);
    same("spectral norm", expected, 1e-5, [&] {
        Floats normed = unknown(1 + O + I), su = u0, sv = v0, g = old;
        blocks(1, 8 * (2 * O + I), [&] { spectral_normalise(normed.data(), su.data(), sv.data(), w.data(), I, O, stride, training); });
        blocks(1, 0, [&] { spectral_finish(g.data(), dw.data(), w.data(), normed.data(), I, O, stride); });
        append(normed, su);
        append(normed, sv);
        append(normed, g);
        return normed;
    });
}

inline void all() {
    for (Shape shape : SHAPES) {
        forward_and_backward(shape);
        gradient(shape);
        transpose(shape);
    }
    for (bool training : {false, true}) {
        spectral_norm(12, 17, training);
        spectral_norm(65, 1, training);
        spectral_norm(1, 3, training);
    }
}

}  // namespace test_matrix
