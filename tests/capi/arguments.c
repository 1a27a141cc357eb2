/* Wrong arguments to every function give a code and words that name the argument, and write nothing. */
#include "check.h"

static const char *const NOWHERE = "/nowhere/at/all/m.safetensors";

static void library(void) {
    CHECK(tg_abi_version() == TG_ABI_VERSION);
    CHECK(tg_version()[0] >= '0' && tg_version()[0] <= '9');
    CHECK(strcmp(tg_last_error(), "") == 0);
    CHECK(strcmp(tg_status_name(TG_OK), "TG_OK") == 0);
    CHECK(strcmp(tg_status_name(TG_ERR_INTERNAL), "TG_ERR_INTERNAL") == 0);
    CHECK(strcmp(tg_status_name(12), "TG_ERR_?") == 0);
    CHECK(strcmp(tg_status_name(-1), "TG_ERR_?") == 0);
    CHECK(tg_device_check(TG_DEVICE_AUTO) == TG_OK && tg_device_check(TG_DEVICE_CPU) == TG_OK);
    GIVES(TG_ERR_ARGUMENT, tg_device_check(-3));
    GIVES(TG_ERR_DEVICE, tg_device_check(1000)); /* no machine has so many */
    SAYS("device 1000: ");
    tg_dataset_free(NULL);
    tg_model_free(NULL);
    CHECK(tg_dataset_len(NULL) == 0 && tg_dataset_condition_dim(NULL) == 0);
}

static void null_pointers(void) {
    tg_model_options mo;
    tg_point points[STEPS] = {{0, 0, 0}};
    size_t needed = 77;
    GIVES(TG_ERR_ARGUMENT, tg_dataset_new(1, NULL));
    SAYS("out");
    GIVES(TG_ERR_ARGUMENT, tg_dataset_push(NULL, points, 3, NULL));
    SAYS("data is NULL");
    GIVES(TG_ERR_ARGUMENT, tg_dataset_open(NULL, NULL, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_dataset_info(NULL, NULL, 0, &needed));
    CHECK(needed == 77);
    GIVES(TG_ERR_ARGUMENT, tg_read_options_init(NULL, 8));
    GIVES(TG_ERR_ARGUMENT, tg_model_options_init(NULL, sizeof mo, TG_PRESET_FAST, TG_DECODER_V6));
    GIVES(TG_ERR_ARGUMENT, tg_model_new(NULL, TG_DEVICE_CPU, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_model_load(NULL, TG_DEVICE_CPU, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_model_save(NULL, NOWHERE));
    GIVES(TG_ERR_ARGUMENT, tg_model_options_get(NULL, &mo, sizeof mo));
    GIVES(TG_ERR_ARGUMENT, tg_model_info(NULL, NULL, 0, &needed));
    GIVES(TG_ERR_ARGUMENT, tg_train_options_init(NULL, 8, TG_STAGE_GAN, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_train_stage(NULL, NULL, TG_STAGE_GAN, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_sample_options_init(NULL, 8));
    GIVES(TG_ERR_ARGUMENT, tg_generate(NULL, NULL, 0, NULL, NULL, STEPS, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_generate_features(NULL, NULL, 0, NULL, NULL, 0, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_encode(NULL, NULL, 0, NULL, 0, 1, NULL, 0));
    GIVES(TG_ERR_ARGUMENT, tg_decode(NULL, NULL, NULL, 0, 1, NULL, 0));
    GIVES(TG_ERR_ARGUMENT, tg_interpolate(NULL, NULL, NULL, 2, NULL, 0));
    SAYS("model is NULL");
}

static void null_beside_a_handle(void) {
    tg_model *model = tiny_model(TG_DECODER_V6);
    tg_dataset *data = arcs(3);
    float z[2 * SUMMARY] = {0};
    uint32_t lengths[1] = {5};
    GIVES(TG_ERR_ARGUMENT, tg_dataset_push(data, NULL, 3, NULL));
    SAYS("points is NULL");
    CHECK(tg_dataset_len(data) == 3);
    GIVES(TG_ERR_ARGUMENT, tg_dataset_info(data, NULL, 10, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_dataset_info(data, NULL, 0, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_model_info(model, NULL, 10, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_model_save(model, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_model_options_get(model, NULL, 8));
    GIVES(TG_ERR_ARGUMENT, tg_train_stage(model, NULL, TG_STAGE_AUTOENCODER, NULL));
    SAYS("data is NULL");
    GIVES(TG_ERR_ARGUMENT, tg_generate(model, NULL, 1, NULL, NULL, STEPS, lengths));
    SAYS("points is NULL");
    GIVES(TG_ERR_ARGUMENT, tg_generate(model, NULL, 1, NULL, (tg_point *)z, STEPS, NULL));
    SAYS("lengths is NULL");
    GIVES(TG_ERR_ARGUMENT, tg_generate_features(model, NULL, 1, NULL, NULL, 100000, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_encode(model, NULL, STEPS, lengths, 1, 1, z, SUMMARY));
    GIVES(TG_ERR_ARGUMENT, tg_decode(model, NULL, lengths, 1, 1, (tg_point *)z, STEPS));
    GIVES(TG_ERR_ARGUMENT, tg_encode_features(model, NULL, STEPS, lengths, 1, 1, z, SUMMARY));
    SAYS("features is NULL");
    GIVES(TG_ERR_ARGUMENT, tg_decode_features(model, z, NULL, 1, 1, z, STEPS));
    SAYS("lengths is NULL");
    GIVES(TG_ERR_ARGUMENT, tg_interpolate(model, z, NULL, 2, z, 2 * SUMMARY));
    SAYS("to is NULL");
    tg_model_free(model);
    tg_dataset_free(data);
}

static void numbers(void) {
    tg_model *model = (tg_model *)&model, *const before = model;
    tg_dataset *data = (tg_dataset *)&data, *const data_before = data;
    tg_model_options mo = tiny_options(TG_DECODER_V6), o;
    GIVES(TG_ERR_ARGUMENT, tg_dataset_new(0, &data));
    SAYS("condition_dim is 0");
    GIVES(TG_ERR_ARGUMENT, tg_dataset_new(UINT32_MAX, &data));
    CHECK(data == data_before);
    memset(&o, 0x55, sizeof o);
    for (int32_t preset = -1; preset <= 4; preset += 5) GIVES(TG_ERR_ARGUMENT, tg_model_options_init(&o, sizeof o, preset, TG_DECODER_V6));
    for (int32_t decoder = -1; decoder <= 2; decoder += 3) {
        GIVES(TG_ERR_ARGUMENT, tg_model_options_init(&o, sizeof o, TG_PRESET_FAST, decoder));
        SAYS("decoder is");
    }
    CHECK(o.preset == 0x55555555);
    GIVES(TG_ERR_ARGUMENT, tg_model_new(&mo, -3, &model));
    GIVES(TG_ERR_DEVICE, tg_model_new(&mo, 1000, &model));
    GIVES(TG_ERR_DEVICE, tg_model_new(&mo, INT32_MAX, &model));
    o = mo, o.latent_dim = 0;
    GIVES(TG_ERR_ARGUMENT, tg_model_new(&o, TG_DEVICE_CPU, &model));
    SAYS("latent_dim is 0");
    o = mo, o.latent_dim = UINT32_MAX;
    GIVES(TG_ERR_ARGUMENT, tg_model_new(&o, TG_DEVICE_CPU, &model));
    o = mo, o.pool = 99;
    GIVES(TG_ERR_ARGUMENT, tg_model_new(&o, TG_DEVICE_CPU, &model));
    SAYS("pool is 99, expected 0 to 3");
    o = mo, o.condition = 2;
    GIVES(TG_ERR_ARGUMENT, tg_model_new(&o, TG_DEVICE_CPU, &model));
    o = mo, o.decoder = TG_DECODER_CLOSED_LOOP, o.condition_dim = 2;
    GIVES(TG_ERR_ARGUMENT, tg_model_new(&o, TG_DEVICE_CPU, &model));
    o = mo, o.expand = -1;
    GIVES(TG_ERR_ARGUMENT, tg_model_new(&o, TG_DEVICE_CPU, &model));
    o = mo, o.generator = 3;
    GIVES(TG_ERR_ARGUMENT, tg_model_new(&o, TG_DEVICE_CPU, &model));
    o = mo, o.critic = INT32_MIN;
    GIVES(TG_ERR_ARGUMENT, tg_model_new(&o, TG_DEVICE_CPU, &model));
    o = mo, o.critic_spectral_norm = 7;
    GIVES(TG_ERR_ARGUMENT, tg_model_new(&o, TG_DEVICE_CPU, &model));
    o = mo, o.lstm_dropout = NAN;
    GIVES(TG_ERR_ARGUMENT, tg_model_new(&o, TG_DEVICE_CPU, &model));
    SAYS("lstm_dropout is NaN");
    o = mo, o.generator_hidden_dims[0] = 0;
    GIVES(TG_ERR_ARGUMENT, tg_model_new(&o, TG_DEVICE_CPU, &model));
    CHECK(model == before);
}

/* Pointers that no array of the type can begin at, as bindings make them from bytes. */
static void alignment(void) {
    tg_dataset *data = arcs(3);
    _Alignas(8) char bytes[3 * sizeof(tg_point) + 8] = {0};
    GIVES(TG_ERR_ARGUMENT, tg_dataset_push(data, (const tg_point *)(void *)(bytes + 1), 3, NULL));
    SAYS("a multiple of 8");
    tg_dataset_free(data);
}

int main(void) {
    library();
    null_pointers();
    null_beside_a_handle();
    numbers();
    alignment();
    return 0;
}
