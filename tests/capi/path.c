/* Paths and streams: exact ends, rising time, streams that are paths, other targets, and what is refused. */
#include <pthread.h>

#include "check.h"

enum { COUNT = 40 };

static tg_point points[COUNT * STEPS], again[COUNT * STEPS];
static uint32_t lengths[COUNT], lengths_again[COUNT], flags[COUNT];
static double ends[COUNT][4];

static tg_path_options path_options(void) {
    tg_path_options o;
    OK(tg_path_options_init(&o, sizeof o));
    CHECK(o.candidates == 1 && o.integer_pixels == 1 && o.duration_scale == 1 && o.polling_hz == 0);
    o.seed = 3;
    return o;
}

/* Any angle, from 1.5 px to far beyond what the model has seen. */
static void make_ends(void) {
    for (int i = 0; i < COUNT; i++) {
        double distance = 1.5 * pow(1.2, i);
        ends[i][0] = 400.25 + 3 * i;
        ends[i][1] = 300.75 - 2 * i;
        ends[i][2] = ends[i][0] + distance * cos(2.4 * i);
        ends[i][3] = ends[i][1] + distance * sin(2.4 * i);
    }
}

static void check_path(const tg_point *p, uint32_t n, const double *e, int whole) {
    CHECK(n >= 2 && p[0].t_ms == 0);
    CHECK(p[0].x == (whole ? round(e[0]) : e[0]) && p[0].y == (whole ? round(e[1]) : e[1]));
    CHECK(p[n - 1].x == (whole ? round(e[2]) : e[2]) && p[n - 1].y == (whole ? round(e[3]) : e[3]));
    for (uint32_t t = 1; t < n; t++) CHECK(p[t].t_ms > p[t - 1].t_ms);
    for (uint32_t t = 0; whole && t < n; t++) CHECK(p[t].x == rint(p[t].x) && p[t].y == rint(p[t].y));
}

static void batches(const tg_model *model) {
    for (uint32_t whole = 0; whole < 2; whole++) {
        tg_path_options o = path_options();
        o.integer_pixels = whole;
        OK(tg_paths(model, ends[0], COUNT, &o, points, STEPS, lengths, flags));
        for (int i = 0; i < COUNT; i++) {
            check_path(points + i * STEPS, lengths[i], ends[i], (int)whole);
            for (uint32_t t = lengths[i]; t < STEPS; t++)
                CHECK(memcmp(points + i * STEPS + t, points + i * STEPS + lengths[i] - 1, sizeof *points) == 0);
            CHECK((flags[i] & ~(uint32_t)(TG_PATH_SCALED | TG_PATH_FORCED)) == 0);
        }
        CHECK((flags[COUNT - 1] & TG_PATH_SCALED) != 0); /* 1800 px, of at most 260 */
        o.threads = 2;
        OK(tg_paths(model, ends[0], COUNT, &o, again, STEPS, lengths_again, NULL));
        CHECK(memcmp(points, again, sizeof points) == 0 && memcmp(lengths, lengths_again, sizeof lengths) == 0);
        /* Path 7 alone is path 7 of forty. */
        o.first = 7;
        const double *e = ends[7];
        OK(tg_path(model, e[0], e[1], e[2], e[3], &o, again, STEPS, lengths_again, NULL));
        CHECK(lengths_again[0] == lengths[7] && memcmp(again, points + 7 * STEPS, STEPS * sizeof *again) == 0);
        o.candidates = 3;
        OK(tg_paths(model, ends[0], 3, &o, again, STEPS, lengths_again, flags));
        for (int i = 0; i < 3; i++) check_path(again + i * STEPS, lengths_again[i], ends[i], (int)whole);
    }
    OK(tg_paths(model, NULL, 0, NULL, NULL, STEPS, NULL, NULL));
    OK(tg_path(model, 0, 0, 0.6, 0, NULL, again, STEPS, lengths_again, NULL)); /* a pixel, as the ends are rounded */
}

enum { ROOM = 60 };
static tg_point shaped_points[COUNT * ROOM];

static void shaped(const tg_model *model) {
    tg_path_options o = path_options();
    uint32_t length, flag;
    o.bounded = 1, o.left = 0, o.top = 90, o.right = 300, o.bottom = 110;
    for (o.first = 0; o.first < 10; o.first++) {
        OK(tg_path(model, 10, 100, 290, 101, &o, points, STEPS, &length, &flag));
        for (uint32_t t = 0; t < length; t++)
            CHECK(points[t].x >= 0 && points[t].x <= 300 && points[t].y >= 90 && points[t].y <= 110);
    }
    GIVES(TG_ERR_ARGUMENT, tg_path(model, 10, 100, 290, 111, &o, points, STEPS, &length, &flag));
    SAYS("inside the bounds");

    o = path_options(), o.min_duration_ms = 5000, o.max_duration_ms = 5001;
    OK(tg_path(model, 10, 100, 200, 200, &o, points, STEPS, &length, &flag));
    CHECK(points[length - 1].t_ms >= 5000 && points[length - 1].t_ms <= 5001 && (flag & TG_PATH_FORCED) != 0);

    /* To the bit: limits are for comparing with. */
    for (int i = 0; i < 2; i++) {
        o.min_duration_ms = 300.1 - 0.3 * i, o.max_duration_ms = 317.3, o.duration_scale = 0.7, o.polling_hz = 125 * i;
        OK(tg_paths(model, ends[0], COUNT, &o, shaped_points, ROOM, lengths, NULL));
        for (int k = 0; k < COUNT; k++) {
            double end = shaped_points[k * ROOM + lengths[k] - 1].t_ms;
            CHECK(end >= o.min_duration_ms && end <= o.max_duration_ms);
        }
    }

    /* Polled: how many there are is in lengths even if there is no room. */
    static tg_point many[600];
    o = path_options(), o.min_duration_ms = 5000, o.max_duration_ms = 5001, o.polling_hz = 100;
    length = 0, flag = 77;
    memcpy(again, points, sizeof points);
    GIVES(TG_ERR_BUFFER, tg_path(model, 10, 100, 200, 200, &o, points, STEPS, &length, &flag));
    SAYS("a row of points has room for 24, needs 50");
    CHECK(length >= 500 && length <= 502 && flag == 77 && memcmp(points, again, sizeof points) == 0);
    uint32_t needed = length;
    GIVES(TG_ERR_BUFFER, tg_path(model, 10, 100, 200, 200, &o, NULL, 0, &length, NULL));
    OK(tg_path(model, 10, 100, 200, 200, &o, many, needed, &length, &flag));
    CHECK(length == needed);
    check_path(many, length, (const double[]){10, 100, 200, 200}, 1);
    for (uint32_t t = 0; t + 1 < length; t++) CHECK(fabs(many[t].t_ms - 10.0 * t) < 1e-9);
}

static void stream_is_path(const tg_model *model) {
    for (int i = 0; i < COUNT; i += 3) {
        tg_path_options o = path_options();
        const double *e = ends[i];
        tg_stream *stream;
        tg_point p, last = {0, 0, 0};
        size_t written, n = 0;
        o.first = (uint64_t)i, o.integer_pixels = i % 2, o.candidates = 1 + i % 4, o.duration_scale = 1.5;
        OK(tg_path(model, e[0], e[1], e[2], e[3], &o, points, STEPS, lengths, NULL));
        OK(tg_stream_new(model, e[0], e[1], e[2], e[3], &o, &stream));
        do {
            OK(tg_stream_next(stream, again + n, n % 3 + 1, &written)); /* one, two or three at a time */
            CHECK(written <= n % 3 + 1);
            n += written;
        } while (written > 0);
        CHECK(n == lengths[0] && memcmp(points, again, n * sizeof *again) == 0);
        OK(tg_stream_next(stream, again, 1, &written));
        CHECK(written == 0);
        GIVES(TG_ERR_STATE, tg_stream_aim(stream, 0, 0)); /* too late */
        OK(tg_stream_next(stream, again, 1, &written));
        CHECK(written == 0);
        tg_stream_free(stream);

        /* The same stream, asked for times: on the way between the points, never back, and at rest at the end. */
        uint32_t ended = 7;
        OK(tg_stream_new(model, e[0], e[1], e[2], e[3], &o, &stream));
        OK(tg_stream_at(stream, -5, &p, &ended));
        CHECK(p.x == points[0].x && p.y == points[0].y && ended == 0);
        double end = points[lengths[0] - 1].t_ms;
        for (uint32_t k = 0; k <= 2 * lengths[0]; k++) {
            uint32_t t = k / 2;
            double share = k % 2 == 0 ? 0 : 0.25;
            double t_ms = t + 1 < lengths[0] ? points[t].t_ms + share * (points[t + 1].t_ms - points[t].t_ms) : end + k;
            const tg_point *a = points + (t < lengths[0] ? t : lengths[0] - 1), *b = t + 1 < lengths[0] ? a + 1 : a;
            OK(tg_stream_at(stream, t_ms, &p, &ended));
            CHECK(fabs(p.x - (a->x + share * (b->x - a->x))) < 1e-6 && fabs(p.y - (a->y + share * (b->y - a->y))) < 1e-6);
            CHECK(p.t_ms == t_ms && p.t_ms >= last.t_ms && ended == (t_ms > end));
            last = p;
        }
        OK(tg_stream_at(stream, 1e9, &p, NULL));
        CHECK(p.x == points[lengths[0] - 1].x && p.y == points[lengths[0] - 1].y);
        tg_stream_free(stream);
    }
}

static void another_target(const tg_model *model) {
    for (int i = 0; i < 20; i++) {
        tg_path_options o = path_options();
        tg_stream *stream;
        size_t written, n = 0;
        const double to[2] = {180.5 + 7 * i, 90.25 - 5 * i};
        o.first = (uint64_t)i, o.integer_pixels = i % 2;
        OK(tg_stream_new(model, 100, 100, 300, 160 + i, &o, &stream));
        OK(tg_stream_next(stream, points, 3, &written));
        CHECK(written == 3);
        OK(tg_stream_aim(stream, to[0], to[1]));
        OK(tg_stream_next(stream, points + 3, (COUNT - 1) * STEPS, &n)); /* a new end may take more than STEPS */
        n += written;
        const double e[4] = {100, 100, to[0], to[1]};
        CHECK(n > 3 && n < (COUNT - 1) * STEPS);
        check_path(points, (uint32_t)n, e, i % 2);
        tg_stream_free(stream);
    }
}

/* The shortest recording has 3000 px: a path of one is a walk of as many, and one of a million more than there are. */
static void far_off(void) {
    tg_model *model = tiny_model(TG_DECODER_CLOSED_LOOP);
    tg_dataset *data;
    static tg_point got[40000];
    OK(tg_dataset_new(1, &data));
    for (int i = 0; i < 60; i++) {
        for (int t = 0; t < 20; t++) {
            double way = (3000 + 10 * i) * t / 19.0;
            points[t] = (tg_point){way * cos(i), way * sin(i), 8 * t};
        }
        OK(tg_dataset_push(data, points, 20, NULL));
    }
    for (int32_t stage = TG_STAGE_AUTOENCODER; stage <= TG_STAGE_GAN; stage++) {
        tg_train_options o = tiny_training(model, stage, 3);
        OK(tg_train_stage(model, data, stage, &o));
    }
    for (uint32_t whole = 0; whole < 2; whole++) {
        tg_path_options o = path_options();
        tg_stream *stream;
        size_t n, rest;
        double longest[2] = {0, 0};
        o.integer_pixels = whole;
        OK(tg_path(model, 0, 0, 1, 0, &o, got, STEPS, lengths, NULL));
        for (uint32_t t = 1; t < lengths[0]; t++)
            longest[0] = fmax(longest[0], hypot(got[t].x - got[t - 1].x, got[t].y - got[t - 1].y));
        OK(tg_stream_new(model, 0, 0, 1, 0, &o, &stream));
        OK(tg_stream_next(stream, got, 2, &n));
        GIVES(TG_ERR_ARGUMENT, tg_stream_aim(stream, 1e6, 0));
        SAYS("x, y is 1000000, 0, expected within 33");
        OK(tg_stream_aim(stream, 3000, 100));
        OK(tg_stream_next(stream, got + n, sizeof got / sizeof *got - n, &rest));
        n += rest;
        check_path(got, (uint32_t)n, (const double[]){0, 0, 3000, 100}, (int)whole);
        for (size_t t = 1; t < n; t++)
            longest[1] = fmax(longest[1], hypot(got[t].x - got[t - 1].x, got[t].y - got[t - 1].y));
        CHECK(longest[1] <= 2 * longest[0] + (whole ? 1.4143 : 1e-9));
        tg_stream_free(stream);
    }
    tg_dataset_free(data);
    tg_model_free(model);
}

static void misuse(const tg_model *model) {
    tg_path_options o = path_options();
    tg_stream *stream = (tg_stream *)&stream, *const before = stream;
    uint32_t length = 77;
    size_t written = 77;
    tg_point p = {5, 5, 5};
    memset(points, 0x5a, sizeof points);
    memcpy(again, points, sizeof points);
    GIVES(TG_ERR_ARGUMENT, tg_path_options_init(NULL, 8));
    GIVES(TG_ERR_ARGUMENT, tg_path(NULL, 0, 0, 9, 9, &o, points, STEPS, &length, NULL));
    SAYS("model is NULL");
    GIVES(TG_ERR_ARGUMENT, tg_path(model, 0, 0, 9, 9, &o, NULL, STEPS, &length, NULL));
    SAYS("points is NULL");
    GIVES(TG_ERR_ARGUMENT, tg_path(model, 0, 0, 9, 9, &o, points, STEPS, NULL, NULL));
    SAYS("length is NULL");
    GIVES(TG_ERR_ARGUMENT, tg_paths(model, NULL, 2, &o, points, STEPS, lengths, NULL));
    SAYS("ends is NULL");
    GIVES(TG_ERR_ARGUMENT, tg_paths(model, ends[0], 2, &o, points, STEPS, NULL, NULL));
    SAYS("lengths is NULL");
    GIVES(TG_ERR_ARGUMENT, tg_paths(model, ends[0], SIZE_MAX / 2, &o, points, STEPS, lengths, NULL));
    GIVES(TG_ERR_BUFFER, tg_path(model, 0, 0, 9, 9, &o, points, STEPS - 1, &length, NULL));
    SAYS("room for 23, needs 24");
    o.integer_pixels = 0;
    GIVES(TG_ERR_ARGUMENT, tg_path(model, 0, 0, 0.6, 0, &o, points, STEPS, &length, NULL));
    SAYS("distance of ends[0] is 0.6, expected 1 px or more");
    const double bad[2][4] = {{0, 0, 9, 9}, {0, 0, NAN, 9}};
    GIVES(TG_ERR_ARGUMENT, tg_paths(model, bad[0], 2, &o, points, STEPS, lengths, NULL));
    SAYS("ends[1]");
    GIVES(TG_ERR_ARGUMENT, tg_path(model, 0, 0, 1e7, 0, &o, points, STEPS, &length, NULL));

#define REFUSED(field, value, words)                                                             \
    do {                                                                                         \
        o = path_options(), o.field = (value);                                                   \
        GIVES(TG_ERR_ARGUMENT, tg_path(model, 0, 0, 99, 9, &o, points, STEPS, &length, NULL));   \
        SAYS(words);                                                                             \
        GIVES(TG_ERR_ARGUMENT, tg_stream_new(model, 0, 0, 99, 9, &o, &stream));                  \
    } while (0)
    REFUSED(polling_hz, 59, "polling_hz is 59");
    REFUSED(polling_hz, 8001, "polling_hz is 8001");
    REFUSED(polling_hz, NAN, "polling_hz is NaN");
    REFUSED(candidates, 4097, "candidates is 4097");
    REFUSED(candidates, UINT64_MAX, "candidates is 18446744073709551615");
    REFUSED(integer_pixels, 2, "integer_pixels is 2");
    REFUSED(bounded, 9, "bounded is 9");
    REFUSED(threads, 5000, "threads is 5000");
    REFUSED(duration_scale, 0, "duration_scale is 0");
    REFUSED(duration_scale, 1e300, "duration_scale is 1");
    REFUSED(min_duration_ms, 1e300, "min_duration_ms");
    REFUSED(max_duration_ms, 1e-300, "max_duration_ms");
    REFUSED(step_temperature, -1, "step_temperature is -1");
    REFUSED(time_temperature, INFINITY, "time_temperature is inf");
    REFUSED(first, UINT64_MAX, "first is");
    o = path_options(), o.bounded = 1, o.right = o.bottom = NAN;
    GIVES(TG_ERR_ARGUMENT, tg_path(model, 0, 0, 99, 9, &o, points, STEPS, &length, NULL));
    o = path_options(), o.min_duration_ms = 3600000, o.polling_hz = 8000;
    GIVES(TG_ERR_ARGUMENT, tg_path(model, 0, 0, 99, 9, &o, points, STEPS, &length, NULL));
    SAYS("up to 1000000");
    CHECK(memcmp(points, again, sizeof points) == 0 && length == 77);

    o = path_options();
    GIVES(TG_ERR_ARGUMENT, tg_stream_new(NULL, 0, 0, 99, 9, &o, &stream));
    GIVES(TG_ERR_ARGUMENT, tg_stream_new(model, 0, 0, 99, 9, &o, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_stream_new(model, 0, 0, 0, 0, &o, &stream));
    o.polling_hz = 125;
    GIVES(TG_ERR_ARGUMENT, tg_stream_new(model, 0, 0, 99, 9, &o, &stream));
    SAYS("need the whole path");
    CHECK(stream == before);
    GIVES(TG_ERR_ARGUMENT, tg_stream_next(NULL, &p, 1, &written));
    GIVES(TG_ERR_ARGUMENT, tg_stream_aim(NULL, 1, 1));
    GIVES(TG_ERR_ARGUMENT, tg_stream_at(NULL, 1, &p, NULL));
    OK(tg_stream_new(model, 0, 0, 99, 9, NULL, &stream));
    GIVES(TG_ERR_ARGUMENT, tg_stream_next(stream, NULL, 1, &written));
    GIVES(TG_ERR_ARGUMENT, tg_stream_next(stream, &p, 1, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_stream_aim(stream, NAN, 1));
    GIVES(TG_ERR_ARGUMENT, tg_stream_aim(stream, 1, -2e6));
    SAYS("-2000000");
    GIVES(TG_ERR_ARGUMENT, tg_stream_at(stream, NAN, &p, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_stream_at(stream, 5, NULL, NULL));
    CHECK(p.x == 5 && written == 77);
    OK(tg_stream_next(stream, NULL, 0, &written));
    CHECK(written == 0);
    /* None of it has moved the stream. */
    OK(tg_stream_next(stream, &p, 1, &written));
    CHECK(written == 1 && p.x == 0 && p.y == 0 && p.t_ms == 0);
    tg_stream_free(stream);
    tg_stream_free(NULL);
}

/* Walks a stream that is its own; the other thread does the same meanwhile. */
static void *walk(void *argument) {
    tg_point got[STEPS + 1];
    size_t written;
    OK(tg_stream_next(argument, got, STEPS + 1, &written));
    CHECK(written == lengths[0] && memcmp(got, points, written * sizeof *got) == 0);
    tg_stream_free(argument);
    return NULL;
}

/* Two streams on two threads; the model is gone by then. */
static void threads(tg_model *model) {
    pthread_t walkers[2];
    tg_stream *streams[2];
    OK(tg_path(model, 50, 60, 200, 10, NULL, points, STEPS, lengths, NULL));
    for (int i = 0; i < 2; i++) OK(tg_stream_new(model, 50, 60, 200, 10, NULL, streams + i));
    tg_model_free(model);
    for (int i = 0; i < 2; i++) CHECK(pthread_create(walkers + i, NULL, walk, streams[i]) == 0);
    for (int i = 0; i < 2; i++) CHECK(pthread_join(walkers[i], NULL) == 0);
}

int main(void) {
    tg_stream *stream;
    make_ends();
    far_off();
    for (int32_t decoder = TG_DECODER_CLOSED_LOOP; decoder <= TG_DECODER_V6; decoder++) {
        tg_model *model = tiny_model(decoder);
        GIVES(TG_ERR_STATE, tg_path(model, 0, 0, 99, 9, NULL, points, STEPS, lengths, NULL));
        GIVES(TG_ERR_STATE, tg_stream_new(model, 0, 0, 99, 9, NULL, &stream));
        tg_model_free(model);
        model = decoder == TG_DECODER_CLOSED_LOOP ? choosing_model() : trained_model(decoder);
        batches(model);
        shaped(model);
        stream_is_path(model);
        another_target(model);
        misuse(model);
        threads(model);
    }
    return 0;
}
