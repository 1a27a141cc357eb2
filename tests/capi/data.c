/* Data sets: pushed, read from files, described. */
#include "check.h"

static void pushed(void) {
    tg_dataset *data;
    tg_point p[STEPS];
    uint32_t n = arc(0, p);
    double condition[2] = {1, 2};
    OK(tg_dataset_new(1, &data));
    OK(tg_dataset_push(data, p, n, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_dataset_push(data, p, 2, NULL));
    SAYS("points is 2, expected 3 or more");
    GIVES(TG_ERR_ARGUMENT, tg_dataset_push(data, NULL, 0, NULL));
    p[4].t_ms = p[3].t_ms;
    GIVES(TG_ERR_ARGUMENT, tg_dataset_push(data, p, n, NULL));
    SAYS("points[4].t_ms");
    p[4].x = INFINITY;
    GIVES(TG_ERR_ARGUMENT, tg_dataset_push(data, p, n, NULL));
    SAYS("points[4].x is inf");
    GIVES(TG_ERR_ARGUMENT, tg_dataset_push(data, p, SIZE_MAX, NULL));
    SAYS("size of points");
    GIVES(TG_ERR_ARGUMENT, tg_dataset_push(data, p, SIZE_MAX / sizeof *p, NULL));
    CHECK(tg_dataset_len(data) == 1);
    tg_dataset_free(data);

    OK(tg_dataset_new(2, &data));
    arc(0, p);
    GIVES(TG_ERR_ARGUMENT, tg_dataset_push(data, p, n, NULL));
    OK(tg_dataset_push(data, p, n, condition));
    condition[1] = NAN;
    GIVES(TG_ERR_ARGUMENT, tg_dataset_push(data, p, n, condition));
    CHECK(tg_dataset_len(data) == 1);
    tg_dataset_free(data);
}

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void opened(void) {
    tg_dataset *data = NULL;
    tg_read_options o;
    char json[512], exact[512];
    size_t needed = 0;
    write_file("moves.jsonl",
               "{\"x\":[0,10,30,60,80,95,99,100,100,100],\"y\":[0,1,2,3,4,5,6,7,8,9],"
               "\"t\":[0,8,16,24,32,40,48,56,64,72]}\n"
               "{\"x\":[0,1],\"y\":[0],\"t\":[0,8]}\n");
    OK(tg_dataset_open("moves.jsonl", NULL, &data));
    CHECK(tg_dataset_len(data) == 1);

    OK(tg_dataset_info(data, NULL, 0, &needed));
    CHECK(needed > 2 && needed < sizeof json);
    memset(json, 'Z', sizeof json);
    GIVES(TG_ERR_BUFFER, tg_dataset_info(data, json, needed - 1, NULL));
    CHECK(json[0] == 'Z' && json[needed - 1] == 'Z');
    OK(tg_dataset_info(data, exact, needed, NULL));
    OK(tg_dataset_info(data, json, sizeof json, &needed));
    CHECK(strlen(json) + 1 == needed && strcmp(json, exact) == 0);
    CHECK(strstr(json, "\"movements\":1") && strstr(json, "\"condition_dim\":1") && strstr(json, "moves.jsonl"));
    tg_dataset_free(data);

    data = NULL;
    GIVES(TG_ERR_IO, tg_dataset_open("absent.jsonl", NULL, &data));
    SAYS("absent.jsonl");
    GIVES(TG_ERR_ARGUMENT, tg_dataset_open("", NULL, &data));
    GIVES(TG_ERR_ARGUMENT, tg_dataset_open("\xff\xfe.json", NULL, &data));
    SAYS("UTF-8");
    OK(tg_read_options_init(&o, sizeof o));
    o.csv_seconds = 2;
    GIVES(TG_ERR_ARGUMENT, tg_dataset_open("moves.jsonl", &o, &data));
    SAYS("csv_seconds is 2");
    CHECK(data == NULL);
}

/* What cannot be is not the file's fault, and no filter is switched off by accident. */
static void limits(void) {
    tg_dataset *data = NULL;
    tg_read_options o;
#define LIMIT(field)                                                     \
    do {                                                                 \
        OK(tg_read_options_init(&o, sizeof o));                          \
        o.field = NAN;                                                   \
        GIVES(TG_ERR_ARGUMENT, tg_dataset_open("moves.jsonl", &o, &data)); \
        SAYS(#field " is NaN, expected 0 or more");                      \
        o.field = -0.5;                                                  \
        GIVES(TG_ERR_ARGUMENT, tg_dataset_open("moves.jsonl", &o, &data)); \
        SAYS(#field " is -0.5");                                         \
    } while (0)
    LIMIT(pause_ms);
    LIMIT(max_coordinate);
    LIMIT(min_distance);
    LIMIT(min_duration_ms);
    LIMIT(max_duration_ms);
    LIMIT(max_path_ratio);
    LIMIT(max_speed);
    LIMIT(max_step_share);
    LIMIT(max_end_speed);
    OK(tg_read_options_init(&o, sizeof o));
    o.max_points = o.min_points - 1;
    GIVES(TG_ERR_ARGUMENT, tg_dataset_open("moves.jsonl", &o, &data));
    SAYS("min_points is 8, expected up to max_points, 7");
    CHECK(data == NULL);
    o.max_points = o.min_points, o.max_speed = INFINITY;
    OK(tg_dataset_open("moves.jsonl", &o, &data));
    tg_dataset_free(data);
}

int main(void) {
    pushed();
    opened();
    limits();
    return 0;
}
