/* Model files: the same model comes back, damage is refused, and a save that fails leaves the old file. */
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static char *slurp(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    CHECK(f != NULL && fseek(f, 0, SEEK_END) == 0);
    *size = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*size);
    CHECK(bytes != NULL && fread(bytes, 1, *size, f) == *size && fclose(f) == 0);
    return bytes;
}

static void spill(const char *path, const char *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    CHECK(f != NULL && fwrite(bytes, 1, size, f) == size && fclose(f) == 0);
}

static void there_and_back(const tg_model *model) {
    tg_model *back = NULL;
    tg_point points[2][STEPS];
    uint32_t lengths[2];
    OK(tg_model_save(model, "ü.safetensors"));
    OK(tg_model_load("ü.safetensors", TG_DEVICE_CPU, &back));
    OK(tg_generate(model, NULL, 1, NULL, points[0], STEPS, lengths));
    OK(tg_generate(back, NULL, 1, NULL, points[1], STEPS, lengths + 1));
    CHECK(lengths[0] == lengths[1] && memcmp(points[0], points[1], sizeof points[0]) == 0);
    size_t a, b;
    OK(tg_model_save(back, "again.safetensors"));
    char *first = slurp("ü.safetensors", &a), *second = slurp("again.safetensors", &b);
    CHECK(a == b && memcmp(first, second, a) == 0);
    free(first);
    free(second);

    size_t needed = 0;
    OK(tg_model_info(back, NULL, 0, &needed));
    char *json = malloc(needed);
    CHECK(json != NULL);
    OK(tg_model_info(back, json, needed, NULL));
    CHECK(strlen(json) + 1 == needed && json[0] == '{' && strstr(json, "summary_dim") != NULL);
    CHECK(strstr(json, "\"diagnosis\":[]") != NULL);
    GIVES(TG_ERR_BUFFER, tg_model_info(back, json, needed - 1, &needed));
    needed = 7;
    GIVES(TG_ERR_ARGUMENT, tg_model_info(back, NULL, 10, &needed));
    CHECK(needed == 7);
    free(json);
    tg_model_free(back);
}

static void damage(void) {
    size_t size;
    char *bytes = slurp("again.safetensors", &size);
    tg_model *model = NULL;
    for (size_t i = 0; i < 40; i++) {
        size_t at = i < 20 ? i * 13 : size - 1 - (i - 20) * (size / 21);
        bytes[at] ^= (char)(1 << (i % 8));
        spill("damaged.safetensors", bytes, size);
        bytes[at] ^= (char)(1 << (i % 8));
        GIVES(TG_ERR_FORMAT, tg_model_load("damaged.safetensors", TG_DEVICE_CPU, &model));
        SAYS("damaged.safetensors: ");
        spill("damaged.safetensors", bytes, i * (size / 40));
        GIVES(TG_ERR_FORMAT, tg_model_load("damaged.safetensors", TG_DEVICE_CPU, &model));
    }
    CHECK(model == NULL);
    free(bytes);
    GIVES(TG_ERR_IO, tg_model_load("absent.safetensors", TG_DEVICE_CPU, &model));
    SAYS("absent.safetensors");
    GIVES(TG_ERR_FORMAT, tg_model_load(".", TG_DEVICE_CPU, &model));
    GIVES(TG_ERR_ARGUMENT, tg_model_load("again.safetensors", -3, &model));
    GIVES(TG_ERR_DEVICE, tg_model_load("again.safetensors", 1000, &model));
    GIVES(TG_ERR_ARGUMENT, tg_model_load("\xc3\x28", TG_DEVICE_CPU, &model));
    CHECK(model == NULL);
}

static void failed_saves(const tg_model *model) {
    size_t before, after;
    char *old = slurp("again.safetensors", &before);
    CHECK(mkdir(".again.safetensors.saving", 0700) == 0); /* in the place of the temporary file */
    GIVES(TG_ERR_IO, tg_model_save(model, "again.safetensors"));
    CHECK(rmdir(".again.safetensors.saving") == 0);
    char *kept = slurp("again.safetensors", &after);
    CHECK(before == after && memcmp(old, kept, before) == 0);
    free(old);
    free(kept);
    CHECK(mkdir("folder", 0700) == 0);
    GIVES(TG_ERR_IO, tg_model_save(model, "folder"));
    GIVES(TG_ERR_IO, tg_model_save(model, "folder/none/m"));
    GIVES(TG_ERR_ARGUMENT, tg_model_save(model, ""));
    CHECK(rmdir("folder") == 0);
}

int main(void) {
    tg_model *model = trained_model(TG_DECODER_V6);
    there_and_back(model);
    damage();
    failed_saves(model);
    tg_model_free(model);
    return 0;
}
