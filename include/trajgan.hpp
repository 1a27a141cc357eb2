/* trajgan.hpp - trajgan.h for C++11 and later: handles that free themselves, vectors, exceptions.
 *
 *     auto data = trajgan::Dataset::open("recordings/");
 *     trajgan::Model model;
 *     model.train(data, TG_STAGE_AUTOENCODER);
 *     model.train(data, TG_STAGE_GAN);
 *     for (const tg_point &p : model.path({100, 100}, {900, 500}).points) move_to(p.x, p.y, p.t_ms);
 *
 * All is in this header; link with -ltrajgan. trajgan.h has the meaning of every call and option; here is only what
 * C++ adds. A call that fails throws trajgan::Error and has changed nothing; std::vector throws its own errors where
 * memory cannot hold what was asked for. Objects are moved, not copied; one that was moved from may only be destroyed or
 * assigned to. const member functions are [shared], others [exclusive].
 */
#ifndef TRAJGAN_HPP
#define TRAJGAN_HPP

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <trajgan.h>

namespace trajgan {

/* What a call said, and its code. */
class Error : public std::runtime_error {
public:
    Error(tg_status code, const std::string &message) : std::runtime_error(message), status(code) {}
    tg_status status;
};

inline void check(tg_status status) {
    if (status != TG_OK) throw Error(status, tg_last_error());
}

/* Throws if the library at run time is not one for this header. */
inline void check_abi() {
    if (tg_abi_version() != TG_ABI_VERSION)
        throw Error(TG_ERR_VERSION, std::string("the library is trajgan ") + tg_version() + ", of another ABI");
}

/* Throws if a model cannot be on a device, and says why. */
inline void check_device(int32_t device) {
    check(tg_device_check(device));
}

/* Options are the structs of trajgan.h, with their defaults filled in. */
struct ReadOptions : tg_read_options {
    ReadOptions() { check(tg_read_options_init(this, sizeof(tg_read_options))); }
};
struct ModelOptions : tg_model_options {
    explicit ModelOptions(tg_preset from = TG_PRESET_DEFAULT, tg_decoder kind = TG_DECODER_CLOSED_LOOP) {
        check(tg_model_options_init(this, sizeof(tg_model_options), from, kind));
    }
};
struct SampleOptions : tg_sample_options {
    SampleOptions() { check(tg_sample_options_init(this, sizeof(tg_sample_options))); }
};
struct PathOptions : tg_path_options {
    PathOptions() { check(tg_path_options_init(this, sizeof(tg_path_options))); }
};
struct EvaluateOptions : tg_evaluate_options {
    EvaluateOptions() { check(tg_evaluate_options_init(this, sizeof(tg_evaluate_options))); }
};

using Points = std::vector<tg_point>;

/* A place in pixels. */
struct Place {
    double x, y;
};

struct Ends {
    Place from, to;
};

struct Path {
    Points points;
    bool scaled; /* TG_PATH_SCALED */
    bool forced; /* TG_PATH_FORCED */
};

/* Movements as the model's numbers: movement i is steps x dim floats from values[i * steps * dim]. */
struct Features {
    std::vector<float> values;
    std::size_t steps, dim;
    std::vector<uint32_t> lengths;
};

namespace detail {

template <typename T, void (*release)(T *)> struct Free {
    void operator()(T *handle) const { release(handle); }
};

template <typename T, void (*release)(T *)> using Handle = std::unique_ptr<T, Free<T, release>>;

/* Text of a call that tells its size. */
template <typename Call> std::string text(std::size_t guess, Call call) {
    std::vector<char> out(guess);
    std::size_t needed = 0;
    tg_status status = call(out.data(), out.size(), &needed);
    if (status == TG_ERR_BUFFER) {
        out.resize(needed);
        status = call(out.data(), out.size(), &needed);
    }
    check(status);
    return std::string(out.data());
}

inline std::vector<Points> rows(const Points &points, std::size_t stride, const std::vector<uint32_t> &lengths) {
    std::vector<Points> out;
    out.reserve(lengths.size());
    Points::const_iterator row = points.begin();
    for (uint32_t length : lengths) {
        out.emplace_back(row, row + length);
        row += static_cast<std::ptrdiff_t>(stride);
    }
    return out;
}

inline const double *data_or_null(const std::vector<double> &numbers) {
    return numbers.empty() ? nullptr : numbers.data();
}

} // namespace detail

/* Recorded movements to learn from. */
class Dataset {
public:
    /* Empty, to push movements to. */
    explicit Dataset(uint32_t condition_dim = 1) {
        tg_dataset *out = nullptr;
        check(tg_dataset_new(condition_dim, &out));
        handle_.reset(out);
    }

    static Dataset open(const std::string &path, const ReadOptions &options = ReadOptions()) {
        tg_dataset *out = nullptr;
        check(tg_dataset_open(path.c_str(), &options, &out));
        return Dataset(out);
    }

    /* condition: empty, or condition_dim numbers. */
    void push(const Points &points, const std::vector<double> &condition = std::vector<double>()) {
        if (!condition.empty() && condition.size() != tg_dataset_condition_dim(get()))
            throw Error(TG_ERR_ARGUMENT, "condition has not condition_dim numbers");
        check(tg_dataset_push(get(), points.data(), points.size(), detail::data_or_null(condition)));
    }

    std::size_t size() const { return tg_dataset_len(get()); }

    /* JSON. */
    std::string info() const {
        return detail::text(4096, [this](char *to, std::size_t room, std::size_t *needed) {
            return tg_dataset_info(get(), to, room, needed);
        });
    }

    tg_dataset *get() const { return handle_.get(); }

private:
    explicit Dataset(tg_dataset *handle) : handle_(handle) {}
    detail::Handle<tg_dataset, tg_dataset_free> handle_;
};

/* A path under way. It keeps what it needs of its model. */
class Stream {
public:
    explicit Stream(tg_stream *handle) : handle_(handle) {}

    /* The next point; false: the path has ended. */
    bool next(tg_point &point) { return next(&point, 1) == 1; }

    /* The next points, up to capacity, and how many came. */
    std::size_t next(tg_point *points, std::size_t capacity) {
        std::size_t written = 0;
        check(tg_stream_next(get(), points, capacity, &written));
        return written;
    }

    void aim(Place to) { check(tg_stream_aim(get(), to.x, to.y)); }

    /* Where the pointer is. ended, which may be null: whether the time is behind the last point, or next() has said that
     * the path has ended. */
    tg_point at(double t_ms, bool *ended = nullptr) {
        tg_point point;
        uint32_t over = 0;
        check(tg_stream_at(get(), t_ms, &point, &over));
        if (ended) *ended = over != 0;
        return point;
    }

    tg_stream *get() const { return handle_.get(); }

private:
    detail::Handle<tg_stream, tg_stream_free> handle_;
};

/* Called after every iteration; true goes on, false stops. It may throw: training stops, and train() throws the same. */
using Progress = std::function<bool(const tg_progress &)>;

class TrainOptions;

class Model {
public:
    explicit Model(const ModelOptions &options = ModelOptions(), int32_t device = TG_DEVICE_AUTO) {
        tg_model *out = nullptr;
        check(tg_model_new(&options, device, &out));
        take(out);
    }

    static Model load(const std::string &path, int32_t device = TG_DEVICE_AUTO) {
        tg_model *out = nullptr;
        check(tg_model_load(path.c_str(), device, &out));
        return Model(out);
    }

    void save(const std::string &path) const { check(tg_model_save(get(), path.c_str())); }

    /* What the model is. */
    const tg_model_options &options() const { return is_; }

    /* JSON. */
    std::string info() const {
        return detail::text(16384, [this](char *to, std::size_t room, std::size_t *needed) {
            return tg_model_info(get(), to, room, needed);
        });
    }

    /* Trains one stage, or goes on with it. False: on_progress has stopped it. */
    bool train(const Dataset &data, tg_stage stage, const Progress &on_progress = Progress());
    bool train(const Dataset &data, tg_stage stage, const TrainOptions &options, const Progress &on_progress = Progress());

    /* conditions: empty for those of the training data, or count x condition_dim. */
    std::vector<Points> generate(std::size_t count, const std::vector<double> &conditions = std::vector<double>(),
                                 const SampleOptions &options = SampleOptions()) const {
        need(conditions, count);
        const std::size_t stride = steps(options);
        Points points(room(count, stride));
        std::vector<uint32_t> lengths(count);
        check(tg_generate(get(), detail::data_or_null(conditions), count, &options, points.data(), stride,
                          lengths.data()));
        return detail::rows(points, stride, lengths);
    }

    Features generate_features(std::size_t count, const std::vector<double> &conditions = std::vector<double>(),
                               const SampleOptions &options = SampleOptions()) const {
        need(conditions, count);
        Features out{{}, steps(options), is_.feature_dim, std::vector<uint32_t>(count)};
        out.values.resize(room(room(count, out.steps), out.dim));
        check(tg_generate_features(get(), detail::data_or_null(conditions), count, &options, out.values.data(),
                                   out.values.size(), out.lengths.data()));
        return out;
    }

    /* Summaries of movements: movements.size() x summary_dim. threads: 0 is one per core. */
    std::vector<float> encode(const std::vector<Points> &movements, uint32_t threads = 1) const {
        std::size_t stride = 0;
        for (const Points &m : movements) stride = m.size() > stride ? m.size() : stride;
        Points points(room(movements.size(), stride));
        std::vector<uint32_t> lengths;
        for (std::size_t i = 0; i < movements.size(); i++) {
            lengths.push_back(static_cast<uint32_t>(movements[i].size()));
            for (std::size_t t = 0; t < movements[i].size(); t++) points[i * stride + t] = movements[i][t];
        }
        std::vector<float> summaries(room(movements.size(), is_.summary_dim));
        check(tg_encode(get(), points.data(), stride, lengths.data(), lengths.size(), threads, summaries.data(),
                        summaries.size()));
        return summaries;
    }

    /* Movements of summaries, lengths.size() x summary_dim. V6 only. */
    std::vector<Points> decode(const std::vector<float> &summaries, const std::vector<uint32_t> &lengths,
                               uint32_t threads = 1) const {
        check_summaries(summaries, lengths.size());
        const std::size_t stride = is_.max_seq_len;
        Points points(room(lengths.size(), stride));
        check(tg_decode(get(), summaries.data(), lengths.data(), lengths.size(), threads, points.data(), stride));
        return detail::rows(points, stride, lengths);
    }

    /* The same two ways for movements as the model's own numbers, as generate_features() gives them. V6 only. */
    std::vector<float> encode(const Features &features, uint32_t threads = 1) const {
        const std::size_t count = features.lengths.size();
        if (features.values.size() != room(room(count, features.steps), is_.feature_dim))
            throw Error(TG_ERR_ARGUMENT, "features are not lengths.size() x steps x feature_dim numbers");
        std::vector<float> summaries(room(count, is_.summary_dim));
        check(tg_encode_features(get(), features.values.data(), features.steps, features.lengths.data(), count, threads,
                                 summaries.data(), summaries.size()));
        return summaries;
    }

    Features decode_features(const std::vector<float> &summaries, const std::vector<uint32_t> &lengths,
                             uint32_t threads = 1) const {
        check_summaries(summaries, lengths.size());
        Features out;
        out.steps = is_.max_seq_len, out.dim = is_.feature_dim, out.lengths = lengths;
        out.values.resize(room(room(lengths.size(), out.steps), out.dim));
        check(tg_decode_features(get(), summaries.data(), lengths.data(), lengths.size(), threads, out.values.data(),
                                 out.steps));
        return out;
    }

    /* steps summaries on the way from one to another, both included. */
    std::vector<float> interpolate(const std::vector<float> &from, const std::vector<float> &to,
                                   std::size_t steps) const {
        if (from.size() != is_.summary_dim || to.size() != is_.summary_dim)
            throw Error(TG_ERR_ARGUMENT, "a summary has not summary_dim numbers");
        std::vector<float> out(room(steps, is_.summary_dim));
        check(tg_interpolate(get(), from.data(), to.data(), steps, out.data(), out.size()));
        return out;
    }

    Path path(Place from, Place to, const PathOptions &options = PathOptions()) const {
        return paths(std::vector<Ends>{{from, to}}, options)[0];
    }

    std::vector<Path> paths(const std::vector<Ends> &ends, const PathOptions &options = PathOptions()) const {
        std::vector<double> numbers;
        for (const Ends &e : ends) numbers.insert(numbers.end(), {e.from.x, e.from.y, e.to.x, e.to.y});
        std::vector<uint32_t> lengths(ends.size()), flags(ends.size());
        std::size_t stride = is_.max_seq_len;
        Points points(room(ends.size(), stride));
        const auto draw = [&] {
            return tg_paths(get(), numbers.data(), ends.size(), &options, points.data(), stride, lengths.data(),
                            flags.data());
        };
        tg_status status = draw();
        if (status == TG_ERR_BUFFER) { /* polled: the lengths tell what it takes */
            for (uint32_t length : lengths) stride = length > stride ? length : stride;
            points.resize(room(ends.size(), stride));
            status = draw();
        }
        check(status);
        std::vector<Points> rows = detail::rows(points, stride, lengths);
        std::vector<Path> out;
        for (std::size_t i = 0; i < rows.size(); i++)
            out.push_back({std::move(rows[i]), (flags[i] & TG_PATH_SCALED) != 0, (flags[i] & TG_PATH_FORCED) != 0});
        return out;
    }

    Stream stream(Place from, Place to, const PathOptions &options = PathOptions()) const {
        tg_stream *out = nullptr;
        check(tg_stream_new(get(), from.x, from.y, to.x, to.y, &options, &out));
        return Stream(out);
    }

    /* The report as JSON. html: also a page with pictures, there; empty: none. */
    std::string evaluate(const Dataset &data, const EvaluateOptions &options = EvaluateOptions(),
                         const std::string &html = std::string()) const {
        return detail::text(262144, [&](char *to, std::size_t room, std::size_t *needed) {
            const char *page = html.empty() ? nullptr : html.c_str();
            return tg_evaluate(get(), data.get(), &options, page, to, room, needed);
        });
    }

    tg_model *get() const { return handle_.get(); }

private:
    explicit Model(tg_model *handle) { take(handle); }

    void take(tg_model *handle) {
        handle_.reset(handle);
        check(tg_model_options_get(handle, &is_, sizeof is_));
    }

    /* Room for each movement: longer ones are refused by the library. */
    std::size_t steps(const SampleOptions &options) const {
        const bool shorter = options.seq_len != 0 && options.seq_len < is_.max_seq_len;
        return shorter ? static_cast<std::size_t>(options.seq_len) : is_.max_seq_len;
    }

    void need(const std::vector<double> &conditions, std::size_t count) const {
        if (!conditions.empty() && conditions.size() != room(count, is_.condition_dim))
            throw Error(TG_ERR_ARGUMENT, "conditions are not count x condition_dim numbers");
    }

    void check_summaries(const std::vector<float> &summaries, std::size_t count) const {
        if (summaries.size() != room(count, is_.summary_dim))
            throw Error(TG_ERR_ARGUMENT, "summaries are not lengths.size() x summary_dim numbers");
    }

    static std::size_t room(std::size_t rows, std::size_t columns) {
        if (columns && rows > SIZE_MAX / columns) throw Error(TG_ERR_MEMORY, "more numbers than memory can have");
        return rows * columns;
    }

    detail::Handle<tg_model, tg_model_free> handle_;
    tg_model_options is_;
};

/* How a stage is trained: the settings of the model, to be changed. on_progress and user_data are Model::train()'s. */
class TrainOptions : public tg_train_options {
public:
    TrainOptions(const Model &model, tg_stage stage) {
        check(tg_train_options_init(this, sizeof(tg_train_options), stage, model.get()));
    }
};

namespace detail {

struct Watched {
    const Progress &on_progress;
    std::exception_ptr failed;
};

/* No exception may pass through the library. */
inline int32_t watch(const tg_progress *progress, void *user_data) noexcept {
    Watched *watched = static_cast<Watched *>(user_data);
    try {
        return watched->on_progress(*progress) ? 0 : 1;
    } catch (...) {
        watched->failed = std::current_exception();
        return 1;
    }
}

} // namespace detail

inline bool Model::train(const Dataset &data, tg_stage stage, const Progress &on_progress) {
    return train(data, stage, TrainOptions(*this, stage), on_progress);
}

inline bool Model::train(const Dataset &data, tg_stage stage, const TrainOptions &options,
                         const Progress &on_progress) {
    detail::Watched watched{on_progress, nullptr};
    tg_train_options given = options;
    given.on_progress = on_progress ? detail::watch : nullptr;
    given.user_data = &watched;
    const tg_status status = tg_train_stage(get(), data.get(), stage, &given);
    if (watched.failed) std::rethrow_exception(watched.failed);
    if (status == TG_ERR_CANCELLED) return false;
    check(status);
    return true;
}

} // namespace trajgan

#endif
