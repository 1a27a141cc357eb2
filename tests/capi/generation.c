/* Movements, features and summaries: layout, lengths, seeds, buffers that are too small. */
#include "check.h"

enum { COUNT = 5 };

static tg_point points[COUNT * (STEPS + 2)], again[COUNT * (STEPS + 2)];
static uint32_t lengths[COUNT], lengths_again[COUNT];

static tg_sample_options sample_options(void) {
    tg_sample_options o;
    OK(tg_sample_options_init(&o, sizeof o));
    o.seed = 9;
    return o;
}

static void own_lengths(const tg_model *model) {
    tg_sample_options o = sample_options();
    size_t stride = STEPS + 2;
    OK(tg_generate(model, NULL, COUNT, &o, points, stride, lengths));
    for (size_t i = 0; i < COUNT; i++) {
        const tg_point *row = points + i * stride;
        CHECK(lengths[i] >= 2 && lengths[i] <= STEPS);
        CHECK(row[0].x == 0 && row[0].y == 0 && row[0].t_ms == 0);
        for (size_t t = 0; t < stride; t++) CHECK(isfinite(row[t].x) && isfinite(row[t].y) && isfinite(row[t].t_ms));
        for (size_t t = lengths[i]; t < stride; t++) CHECK(memcmp(row + t, row + lengths[i] - 1, sizeof *row) == 0);
    }
    o.threads = 3;
    OK(tg_generate(model, NULL, COUNT, &o, again, stride, lengths_again));
    CHECK(memcmp(points, again, sizeof points) == 0 && memcmp(lengths, lengths_again, sizeof lengths) == 0);
    /* Movement 3 alone is movement 3 of five, and is work for one thread: valgrind allows for 499. */
    o.first = 3, o.threads = 1024;
    OK(tg_generate(model, NULL, 1, &o, again, stride, lengths_again));
    CHECK(lengths_again[0] == lengths[3] && memcmp(again, points + 3 * stride, stride * sizeof *again) == 0);
    o.first = 0, o.seed = 10;
    OK(tg_generate(model, NULL, COUNT, &o, again, stride, lengths_again));
    CHECK(memcmp(points, again, sizeof points) != 0);
}

static void given_lengths(const tg_model *model) {
    tg_sample_options o = sample_options();
    const double conditions[COUNT] = {100, 120, 150, 170, 200};
    o.seq_len = 10;
    OK(tg_generate(model, conditions, COUNT, &o, points, 10, NULL));
    OK(tg_generate(model, conditions, COUNT, &o, points, 10, lengths));
    for (size_t i = 0; i < COUNT; i++) CHECK(lengths[i] == 10);
    OK(tg_generate(model, conditions, 0, &o, NULL, 10, NULL));
    o.seq_len = STEPS + 1;
    GIVES(TG_ERR_ARGUMENT, tg_generate(model, conditions, COUNT, &o, points, STEPS, NULL)); /* rather than more room */
    SAYS("seq_len is 25");
    float f[1];
    GIVES(TG_ERR_ARGUMENT, tg_generate_features(model, conditions, COUNT, &o, f, 1, NULL));
    SAYS("seq_len is 25");
    o.seq_len = 1;
    GIVES(TG_ERR_ARGUMENT, tg_generate(model, conditions, COUNT, &o, points, STEPS, NULL));
    o = sample_options(), o.truncation_psi = NAN;
    GIVES(TG_ERR_ARGUMENT, tg_generate(model, conditions, COUNT, &o, points, STEPS, lengths));
    SAYS("truncation_psi is NaN");
    o = sample_options(), o.first = UINT64_MAX;
    GIVES(TG_ERR_ARGUMENT, tg_generate(model, conditions, COUNT, &o, points, STEPS, lengths));
    SAYS("first is");
    o.threads = 5000;
    o.first = 0;
    GIVES(TG_ERR_ARGUMENT, tg_generate(model, conditions, COUNT, &o, points, STEPS, lengths));
    const double bad[2] = {100, NAN};
    o = sample_options();
    GIVES(TG_ERR_ARGUMENT, tg_generate(model, bad, 2, &o, points, STEPS, lengths));
}

/* Nothing is written when a call fails. */
static void small_buffers(const tg_model *model) {
    tg_sample_options o = sample_options();
    float features[2 * STEPS * 8], z[2 * SUMMARY];
    memset(points, 0x5a, sizeof points);
    memset(lengths, 0x5a, sizeof lengths);
    memcpy(again, points, sizeof points);
    GIVES(TG_ERR_BUFFER, tg_generate(model, NULL, COUNT, &o, points, STEPS - 1, lengths));
    SAYS("has room for 23, needs 24");
    GIVES(TG_ERR_ARGUMENT, tg_generate(model, NULL, SIZE_MAX / 4, &o, points, STEPS, lengths));
    SAYS("size of points");
    GIVES(TG_ERR_ARGUMENT, tg_generate(model, NULL, SIZE_MAX / STEPS / 20, &o, points, STEPS, lengths));
    CHECK(memcmp(again, points, sizeof points) == 0 && lengths[0] == 0x5a5a5a5a);
    memset(features, 0x5a, sizeof features);
    GIVES(TG_ERR_BUFFER, tg_generate_features(model, NULL, 2, &o, features, 2 * STEPS * 8 - 1, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_generate_features(model, NULL, SIZE_MAX / 2, &o, features, 2 * STEPS * 8, NULL));
    uint32_t n = 12;
    GIVES(TG_ERR_BUFFER, tg_decode_features(model, z, &n, 1, 1, features, 11));
    GIVES(TG_ERR_BUFFER, tg_encode_features(model, features, STEPS, &n, 1, 1, z, SUMMARY - 1));
    CHECK(memcmp(features, again, sizeof features) == 0);
    n = arc(0, again);
    GIVES(TG_ERR_BUFFER, tg_encode(model, again, STEPS, &n, 1, 1, z, SUMMARY - 1));
    n = 12;
    GIVES(TG_ERR_BUFFER, tg_decode(model, z, &n, 1, 1, points, 11));
    GIVES(TG_ERR_BUFFER, tg_interpolate(model, z, z, 3, z, 3 * SUMMARY - 1));
}

static void features(const tg_model *model) {
    tg_sample_options o = sample_options();
    static float f[COUNT * STEPS * 8], g[COUNT * STEPS * 8];
    OK(tg_generate_features(model, NULL, COUNT, &o, f, sizeof f / sizeof *f, lengths));
    for (size_t i = 0; i < sizeof f / sizeof *f; i++) CHECK(f[i] >= -1 && f[i] <= 1);
    for (size_t i = 0; i < COUNT; i++) {
        CHECK(lengths[i] >= 2 && lengths[i] <= STEPS);
        for (size_t k = lengths[i] * 8; k < STEPS * 8; k++) CHECK(f[i * STEPS * 8 + k] == 0);
    }
    o.threads = 2;
    OK(tg_generate_features(model, NULL, COUNT, &o, g, sizeof g / sizeof *g, NULL));
    CHECK(memcmp(f, g, sizeof f) == 0);
    o.seq_len = 7;
    OK(tg_generate_features(model, NULL, COUNT, &o, f, COUNT * 7 * 8, lengths));
    for (size_t i = 0; i < COUNT; i++) CHECK(lengths[i] == 7);
}

static void summaries(const tg_model *model) {
    float z[2][SUMMARY], one[SUMMARY], path[3][SUMMARY];
    for (uint32_t i = 0; i < 2; i++) lengths[i] = arc(i + 5, points + i * STEPS);
    OK(tg_encode(model, points, STEPS, lengths, 2, 0, z[0], 2 * SUMMARY));
    OK(tg_encode(model, points + STEPS, STEPS, lengths + 1, 1, 1, one, SUMMARY));
    CHECK(memcmp(z[1], one, sizeof one) == 0);
    for (int i = 0; i < SUMMARY; i++) CHECK(isfinite(z[0][i]) && isfinite(z[1][i]));

    OK(tg_interpolate(model, z[0], z[1], 3, path[0], 3 * SUMMARY));
    CHECK(memcmp(path[0], z[0], sizeof z[0]) == 0 && memcmp(path[2], z[1], sizeof z[1]) == 0);
    GIVES(TG_ERR_ARGUMENT, tg_interpolate(model, z[0], z[1], 1, path[0], 3 * SUMMARY));

    const uint32_t wanted[3] = {5, 9, STEPS};
    OK(tg_decode(model, path[0], wanted, 3, 2, points, STEPS));
    CHECK(points[0].x == 0 && points[0].t_ms == 0);
    for (int t = 5; t < STEPS; t++) CHECK(memcmp(points + t, points + 4, sizeof *points) == 0);
    const uint32_t none[1] = {0}, many[1] = {STEPS + 1};
    GIVES(TG_ERR_ARGUMENT, tg_decode(model, path[0], none, 1, 1, points, STEPS));
    GIVES(TG_ERR_ARGUMENT, tg_decode(model, path[0], many, 1, 1, points, STEPS));
    SAYS("lengths[0] is 25, expected 1 to 24");
    one[3] = NAN;
    GIVES(TG_ERR_ARGUMENT, tg_decode(model, one, wanted, 1, 1, points, STEPS));
    SAYS("summaries[3] is NaN");
    OK(tg_encode(model, NULL, STEPS, NULL, 0, 1, NULL, 0));
    OK(tg_decode(model, NULL, NULL, 0, 1, NULL, STEPS));
    /* Which movement, and which point. */
    lengths[0] = arc(0, points), lengths[1] = arc(1, points + STEPS);
    points[STEPS + 2].t_ms = -1;
    GIVES(TG_ERR_ARGUMENT, tg_encode(model, points, STEPS, lengths, 2, 1, z[0], 2 * SUMMARY));
    SAYS("movement 1: points[2].t_ms is -1");
    lengths[0] = STEPS + 1;
    GIVES(TG_ERR_ARGUMENT, tg_encode(model, points, STEPS, lengths, 2, 1, z[0], 2 * SUMMARY));
    SAYS("lengths[0] is 25, expected up to stride, 24");
}

/* The model's own numbers say what the points say: feature 0 is x in another unit. The first point is 0 by rule. */
static void features_of_summaries(const tg_model *model) {
    static float f[2 * STEPS * 8];
    float z[2][SUMMARY], one[SUMMARY];
    tg_sample_options o = sample_options();
    OK(tg_generate_features(model, NULL, 2, &o, f, sizeof f / sizeof *f, lengths));
    OK(tg_encode_features(model, f, STEPS, lengths, 2, 2, z[0], 2 * SUMMARY));
    OK(tg_encode_features(model, f + STEPS * 8, STEPS, lengths + 1, 1, 1, one, SUMMARY));
    CHECK(memcmp(z[1], one, sizeof one) == 0 && memcmp(z[0], one, sizeof one) != 0);

    const uint32_t wanted[2] = {7, 12};
    OK(tg_decode(model, z[0], wanted, 2, 1, points, STEPS));
    OK(tg_decode_features(model, z[0], wanted, 2, 1, f, STEPS));
    for (size_t i = 0; i < 2; i++) {
        const float *row = f + i * STEPS * 8;
        const tg_point *at = points + i * STEPS;
        uint32_t last = wanted[i] - 1;
        double scale = (at[last].x - at[1].x) / (row[last * 8] - row[8]);
        CHECK(isfinite(scale) && scale > 0);
        for (uint32_t t = 1; t <= last; t++) CHECK(fabs(at[t].x - at[1].x - scale * (row[t * 8] - row[8])) < 0.01);
        for (size_t k = wanted[i] * 8; k < STEPS * 8; k++) CHECK(row[k] == 0);
    }
    GIVES(TG_ERR_ARGUMENT, tg_encode_features(model, f, 6, wanted, 2, 1, z[0], 2 * SUMMARY));
    SAYS("lengths[0] is 7, expected up to stride, 6");
    f[STEPS * 8 + 3] = INFINITY;
    GIVES(TG_ERR_ARGUMENT, tg_encode_features(model, f, STEPS, wanted, 2, 1, z[0], 2 * SUMMARY));
    SAYS("movement 1, number 3 is inf");
    OK(tg_encode_features(model, NULL, STEPS, NULL, 0, 1, NULL, 0));
    OK(tg_decode_features(model, NULL, NULL, 0, 1, NULL, STEPS));
}

int main(void) {
    tg_model *model = trained_model(TG_DECODER_V6);
    own_lengths(model);
    given_lengths(model);
    small_buffers(model);
    features(model);
    summaries(model);
    features_of_summaries(model);
    tg_model_free(model);
    return 0;
}
