/* Programs and libraries of different age: option structs that are shorter or longer than the library's. */
#include "check.h"

/* As a later header might have it. */
typedef struct {
    tg_sample_options known;
    double temperature;
} newer_options;

static tg_point points[STEPS], again[STEPS];
static uint32_t length, length_again;

static void draw(const tg_model *model, const void *options, tg_point *to, uint32_t *n) {
    OK(tg_generate(model, NULL, 1, (const tg_sample_options *)options, to, STEPS, n));
}

static void older(const tg_model *model) {
    /* A program that knew threads and seed only: the rest is default, and what is behind is not touched. */
    struct {
        uint32_t struct_size, threads;
        uint64_t seed;
        char behind[8];
    } old;
    memset(&old, 0x5a, sizeof old);
    OK(tg_sample_options_init((tg_sample_options *)(void *)&old, 16));
    CHECK(old.struct_size == 16 && old.threads == 1 && old.seed == 0);
    CHECK(memcmp(old.behind, "ZZZZZZZZ", 8) == 0);
    old.seed = 5;
    draw(model, &old, points, &length);
    tg_sample_options full;
    OK(tg_sample_options_init(&full, sizeof full));
    full.seed = 5;
    draw(model, &full, again, &length_again);
    CHECK(length == length_again && memcmp(points, again, sizeof points) == 0);
}

static void newer(const tg_model *model) {
    newer_options o;
    memset(&o, 0x5a, sizeof o);
    OK(tg_sample_options_init(&o.known, sizeof o));
    CHECK(o.known.struct_size == sizeof o && o.known.truncation_psi == 0);
    CHECK(o.temperature == 0.0);
    o.known.seed = 5;
    draw(model, &o, points, &length);
    CHECK(length == length_again && memcmp(points, again, sizeof points) == 0);
    o.temperature = 0.5;
    GIVES(TG_ERR_VERSION, tg_generate(model, NULL, 1, &o.known, points, STEPS, &length));
    SAYS("tg_sample_options sets a field");
}

static void nonsense(const tg_model *model) {
    tg_sample_options o;
    const uint32_t sizes[] = {0, 1, 4, 7, 9, sizeof o - 1, sizeof o + 1};
    OK(tg_sample_options_init(&o, sizeof o));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        o.struct_size = sizes[i];
        GIVES(TG_ERR_ARGUMENT, tg_generate(model, NULL, 1, &o, points, STEPS, &length));
        SAYS("tg_sample_options.struct_size is");
        GIVES(TG_ERR_ARGUMENT, tg_sample_options_init(&o, sizes[i]));
    }
    /* Far more than the struct has: refused before anything beyond it is read. */
    o.struct_size = 0xffffff00;
    GIVES(TG_ERR_VERSION, tg_generate(model, NULL, 1, &o, points, STEPS, &length));
    GIVES(TG_ERR_VERSION, tg_sample_options_init(&o, SIZE_MAX - 7));
    o.struct_size = sizeof o, o.candidates = UINT32_MAX;
    GIVES(TG_ERR_ARGUMENT, tg_generate(model, NULL, 1, &o, points, STEPS, &length));
    SAYS("candidates is 4294967295, expected 0 to 4096");
}

/* Each struct from its own _init goes back in unchanged. */
static void every_struct(const tg_model *model) {
    tg_model_options mo, got;
    OK(tg_model_options_init(&mo, sizeof mo, TG_PRESET_LARGE, TG_DECODER_V6));
    CHECK(mo.struct_size == sizeof mo && mo.generator_hidden_dims[2] == 256 && mo.generator_hidden_dims[3] == 0);
    OK(tg_model_options_get(model, &got, sizeof got));
    tg_model_options tiny = tiny_options(TG_DECODER_V6);
    tiny.preset = got.preset;
    CHECK(memcmp(&got, &tiny, sizeof got) == 0);

    tg_train_options to;
    OK(tg_train_options_init(&to, sizeof to, TG_STAGE_AUTOENCODER, NULL));
    CHECK(to.struct_size == sizeof to && to.learning_rate == 4e-3 && to.iterations == 20000 && to.on_progress == NULL);
    OK(tg_train_options_init(&to, sizeof to, TG_STAGE_GAN, NULL));
    CHECK(to.learning_rate == 2e-4 && to.batch_size == 128 && to.lambda_gp == 10.0 && to.beta1 == 0.0);
    OK(tg_train_options_init(&to, sizeof to, TG_STAGE_GAN, model));
    CHECK(to.learning_rate == 1e-4 && to.iterations == 2 && to.batch_size == 8);
    OK(tg_train_options_init(&to, sizeof to, TG_STAGE_AUTOENCODER, model));
    GIVES(TG_ERR_ARGUMENT, tg_train_options_init(&to, sizeof to, 0, model));
    GIVES(TG_ERR_ARGUMENT, tg_train_options_init(&to, sizeof to, 3, NULL));
    SAYS("stage is 3");

    tg_read_options ro;
    OK(tg_read_options_init(&ro, sizeof ro));
    CHECK(ro.struct_size == sizeof ro && ro.min_points == 8 && ro.pause_ms == 200.0);
    CHECK(sizeof mo % 8 == 0 && sizeof to % 8 == 0 && sizeof ro % 8 == 0 && sizeof(tg_progress) % 8 == 0);
}

int main(void) {
    tg_model *model = trained_model(TG_DECODER_V6);
    older(model);
    newer(model);
    nonsense(model);
    every_struct(model);
    tg_model_free(model);
    return 0;
}
