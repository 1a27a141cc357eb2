// What all kernel tests share: launches, numbers to start from, and the one check.
#pragma once
#include <random>
#include <string>

#include "kernels.h"

typedef std::vector<float> Floats;
typedef std::vector<double> Doubles;
typedef std::vector<int> Ints;

namespace check {

inline int passed = 0, failed = 0;
inline bool brief = false, until_failure = false;  // see main.cpp

inline void each(size_t n, const std::function<void()>& body) { emu::launch(dim3((n + 255) / 256), dim3(256), 0, body); }
inline void warps(size_t n, const std::function<void()>& body) { emu::launch(dim3((n + 3) / 4), dim3(128), 0, body); }
inline void blocks(size_t n, size_t shared, const std::function<void()>& body) { emu::launch(dim3(n), dim3(256), shared, body); }

// Normal numbers times scale, the same for the same seed.
inline Floats numbers(size_t n, unsigned seed, float scale = 1.0f) {
    std::mt19937 generator(seed * 7919 + 17);
    std::normal_distribution<float> normal;
    Floats out(n);
    for (float& x : out) x = scale * normal(generator);
    return out;
}

inline Floats unknown(size_t n) { return Floats(n, NAN); }  // what a kernel must write

inline void report(bool good, const std::string& what, const std::string& why) {
    ++(good ? passed : failed);
    if (good) return;
    printf("FAILED %s: %s\n", what.c_str(), why.c_str());
    if (until_failure) exit(1);
}

// Runs the kernel in three orders of its threads. The results must be the same bits, and within tolerance of what is expected,
// relative to the largest expected number or 1.
inline void same(const std::string& what, const Doubles& expected, double tolerance, const std::function<Floats()>& run) {
    Floats first;
    for (int order : {emu::FORWARD, emu::REVERSE, emu::RANDOM}) {
        emu::order = order;
        const Floats got = run();
        if (order == emu::FORWARD) first = got;
        if (got.size() != expected.size() || memcmp(got.data(), first.data(), got.size() * sizeof(float)) != 0)
            return report(false, what, "other bits in order " + std::to_string(order));
    }
    double largest = 1.0, worst = 0.0;
    for (double x : expected) largest = std::max(largest, std::fabs(x));
    for (size_t i = 0; i < expected.size(); ++i) {
        const double error = std::fabs(first[i] - expected[i]) / largest;
        if (!(error <= worst)) worst = error;  // NaN stays
    }
    report(worst <= tolerance, what, "error " + std::to_string(worst / tolerance) + " times the tolerance");
}

inline void append(Floats& to, const Floats& from) { to.insert(to.end(), from.begin(), from.end()); }
inline void append(Floats& to, const Doubles& from) { to.insert(to.end(), from.begin(), from.end()); }
inline void append(Doubles& to, const Doubles& from) { to.insert(to.end(), from.begin(), from.end()); }

// A packed batch and its tables on the device.
struct Steps {
    Ints lengths, offsets, times, head;

    explicit Steps(const Ints& of) : lengths(of), offsets{0} {
        size_t rows = lengths.size();
        for (int t = 0; t < lengths[0]; ++t) {
            while (lengths[rows - 1] <= t) --rows;
            offsets.push_back(offsets[t] + rows);
            times.insert(times.end(), rows, t);
        }
        head = {static_cast<int>(lengths.size()), lengths[0], offsets.back(), 0};
    }

    // Lengths that fall from T to 1.
    static Steps falling(int rows, int T) {
        Ints lengths;
        for (int b = 0; b < rows; ++b) lengths.push_back(T - b * (T - 1) / std::max(1, rows - 1));
        return Steps(lengths);
    }

    int rows() const { return head[0]; }
    int total() const { return head[2]; }
    int at(int row, int t) const { return offsets[t] + row; }
};

inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
inline double leaky(double x) { return x > 0.0 ? x : 0.2f * x; }

}  // namespace check
