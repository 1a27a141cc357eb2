/* trajgan.hpp: every call once, beside what trajgan.h gives, and exceptions both ways. */
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include <trajgan.hpp>

#include "check.h"

using namespace trajgan;

/* body must throw an Error of this kind that says this. */
template <typename Body> static void refused(tg_status status, const char *words, Body body) {
    try {
        body();
    } catch (const Error &error) {
        CHECK(error.status == status && std::strstr(error.what(), words));
        return;
    }
    CHECK(!"it was not refused");
}

static bool same(const Points &a, const Points &b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0;
}

static ModelOptions tiny(tg_decoder decoder) {
    ModelOptions o(TG_PRESET_FAST, decoder);
    CHECK(o.struct_size == sizeof(tg_model_options) && o.decoder == decoder);
    static_cast<tg_model_options &>(o) = tiny_options(decoder);
    return o;
}

static Dataset movements() {
    Dataset data;
    for (uint32_t i = 0; i < 60; i++) {
        Points points(STEPS);
        points.resize(arc(i, points.data()));
        data.push(points);
    }
    CHECK(data.size() == 60 && data.info().find("\"movements\":60") != std::string::npos);
    refused(TG_ERR_ARGUMENT, "condition", [&] { data.push(Points(3), {1, 2}); });
    refused(TG_ERR_ARGUMENT, "", [&] { data.push(Points(2)); });
    return data;
}

static void training(Model &model, const Dataset &data) {
    TrainOptions o(model, TG_STAGE_AUTOENCODER);
    o.batch_size = 8;
    o.iterations = 4;
    refused(TG_ERR_STATE, "", [&] { model.train(data, TG_STAGE_GAN); });
    /* Stopped, then failed in the callback, then done. */
    CHECK(!model.train(data, TG_STAGE_AUTOENCODER, o, [](const tg_progress &p) { return p.iteration < 2; }));
    struct Mine {};
    bool caught = false;
    try {
        model.train(data, TG_STAGE_AUTOENCODER, o, [](const tg_progress &) -> bool { throw Mine(); });
    } catch (const Mine &) {
        caught = true;
    }
    CHECK(caught);
    uint64_t last = 0;
    CHECK(model.train(data, TG_STAGE_AUTOENCODER, o, [&](const tg_progress &p) { return last = p.iteration, true; }));
    CHECK(last == 4);
    TrainOptions second(model, TG_STAGE_GAN);
    second.iterations = 3, second.batch_size = 8;
    CHECK(model.train(data, TG_STAGE_GAN, second));
}

static void sampling(const Model &model, bool walks) {
    SampleOptions o;
    o.seed = 3;
    std::vector<Points> made = model.generate(5, {100, 110, 120, 130, 140}, o);
    CHECK(made.size() == 5);
    for (const Points &m : made) CHECK(m.size() >= 2 && m.size() <= STEPS && m[0].t_ms == 0);
    CHECK(model.generate(2).size() == 2 && model.generate(0).empty());
    Features features = model.generate_features(5, {100, 110, 120, 130, 140}, o);
    CHECK(features.steps == STEPS && features.dim == 8 && features.values.size() == 5 * STEPS * 8);
    for (std::size_t i = 0; i < 5; i++) CHECK(features.lengths[i] == made[i].size());
    refused(TG_ERR_ARGUMENT, "conditions", [&] { model.generate(5, {100}); });
    refused(TG_ERR_MEMORY, "", [&] { model.generate(SIZE_MAX / 2); });
    /* Longer than any model makes: nothing of the kind is allocated. */
    for (uint64_t steps : {uint64_t(STEPS) + 1, uint64_t(1) << 40, uint64_t(1) << 62}) {
        SampleOptions longer;
        longer.seq_len = steps;
        const std::string words = "seq_len is " + std::to_string(steps);
        refused(TG_ERR_ARGUMENT, words.c_str(), [&] { model.generate(5, {}, longer); });
        refused(TG_ERR_ARGUMENT, words.c_str(), [&] { model.generate_features(5, {}, longer); });
    }

    const std::size_t dim = model.options().summary_dim;
    std::vector<float> z = model.encode(made);
    CHECK(z.size() == 5 * dim);
    std::vector<float> first(z.begin(), z.begin() + long(dim)), second(z.begin() + long(dim), z.begin() + long(2 * dim));
    std::vector<float> way = model.interpolate(first, second, 4);
    CHECK(way.size() == 4 * dim && way[0] == first[0]);
    refused(TG_ERR_ARGUMENT, "summary_dim", [&] { model.interpolate(first, {}, 4); });
    refused(TG_ERR_ARGUMENT, "summary_dim", [&] { model.decode(first, {5, 6}); });
    if (walks) {
        refused(TG_ERR_STATE, "", [&] { model.decode(first, {5}); });
        refused(TG_ERR_STATE, "", [&] { model.decode_features(first, {5}); });
        return;
    }
    CHECK(model.decode(first, {5})[0].size() == 5);
    Features decoded = model.decode_features(first, {5});
    CHECK(decoded.values.size() == decoded.steps * decoded.dim && decoded.values[5 * decoded.dim] == 0);
    CHECK(model.encode(decoded).size() == dim);
    decoded.lengths.push_back(5);
    refused(TG_ERR_ARGUMENT, "lengths.size() x steps", [&] { model.encode(decoded); });
    refused(TG_ERR_ARGUMENT, "summary_dim", [&] { model.decode_features(first, {5, 6}); });
}

static void paths(const Model &model) {
    PathOptions o;
    o.seed = 5, o.integer_pixels = 0;
    const Path path = model.path({10.5, 20}, {200, -30.25}, o);
    const tg_point last = path.points.back();
    CHECK(path.points[0].x == 10.5 && last.x == 200 && last.y == -30.25 && !path.scaled && !path.forced);
    CHECK(model.path({0, 0}, {3000, 0}).scaled);
    const std::vector<Path> two = model.paths({{{10.5, 20}, {200, -30.25}}, {{0, 0}, {0, 90}}}, o);
    CHECK(two.size() == 2 && same(two[0].points, path.points) && model.paths({}).empty());

    Stream stream = model.stream({10.5, 20}, {200, -30.25}, o);
    Points seen;
    tg_point point;
    while (stream.next(point)) seen.push_back(point);
    CHECK(same(seen, path.points));
    refused(TG_ERR_STATE, "ended", [&] { stream.aim({1, 1}); });
    bool ended = false;
    stream.at(0, &ended);
    CHECK(ended); /* next() has said so */
    stream = model.stream({10.5, 20}, {200, -30.25}, o);
    CHECK(stream.at(0, &ended).x == 10.5 && !ended);
    stream.aim({90, 40});
    point = stream.at(1e7, &ended);
    CHECK(ended && point.x == 90 && point.y == 40);

    /* More points than max_seq_len. */
    o.polling_hz = 1000, o.min_duration_ms = 900;
    const Path polled = model.path({0, 0}, {150, 60}, o);
    CHECK(polled.points.size() >= 900 && polled.points.back().y == 60);
    refused(TG_ERR_ARGUMENT, "whole path", [&] { model.stream({0, 0}, {150, 60}, o); });
}

int main() {
    static_assert(!std::is_copy_constructible<Model>::value && std::is_move_constructible<Model>::value, "moved only");
    static_assert(!std::is_copy_constructible<Stream>::value && !std::is_copy_constructible<Dataset>::value, "too");
    check_abi();
    check_device(TG_DEVICE_CPU);
    refused(TG_ERR_ARGUMENT, "", [] { check_device(-7); });
    ReadOptions reading;
    CHECK(reading.pause_ms > 0);
    refused(TG_ERR_IO, "nowhere", [&] { Dataset::open("nowhere", reading); });
    FILE *lines = std::fopen("conditions.jsonl", "w");
    CHECK(lines != nullptr);
    CHECK(std::fputs("{\"x\":[0,5,9],\"y\":[0,1,1],\"t\":[0,8,16],\"condition\":[1,2,3]}\n", lines) >= 0 && std::fclose(lines) == 0);
    Dataset opened = Dataset::open("conditions.jsonl", reading);
    Points three(STEPS);
    three.resize(arc(1, three.data()));
    refused(TG_ERR_ARGUMENT, "condition", [&] { opened.push(three, {5}); });
    opened.push(three, {4, 5, 6});
    CHECK(opened.size() == 2);
    refused(TG_ERR_IO, "nowhere", [] { Model::load("nowhere"); });
    for (tg_decoder decoder : {TG_DECODER_CLOSED_LOOP, TG_DECODER_V6}) {
        Dataset data = movements();
        Model made(tiny(decoder), TG_DEVICE_CPU);
        training(made, data);
        made.save("model.safetensors");
        Model model = Model::load("model.safetensors", TG_DEVICE_CPU);
        CHECK(model.options().summary_dim == SUMMARY && model.info() == made.info());
        sampling(model, decoder == TG_DECODER_CLOSED_LOOP);
        paths(model);
        EvaluateOptions quick;
        quick.quick = 1;
        refused(TG_ERR_ARGUMENT, "", [&] { model.evaluate(data, quick); }); /* 12 movements are too few to test with */
        Model taken = std::move(made);
        CHECK(same(taken.path({0, 0}, {99, 9}).points, model.path({0, 0}, {99, 9}).points));
    }
    return 0;
}
