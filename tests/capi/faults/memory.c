/* Memory that runs out: each call under every limit on the address space from next to nothing upwards. It must say
 * TG_ERR_MEMORY, or do its work; the process must live, and what it had must still be good. */
#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../check.h"

enum { COUNT = 2000, TRIES = 24, KILLED = 100 };

static tg_point *points;
static uint32_t lengths[COUNT];
static tg_model *model;
static tg_dataset *data;

/* Wide enough that weights, batches and files are large. */
static tg_model_options wide(void) {
    tg_model_options o = tiny_options(TG_DECODER_V6);
    o.encoder_hidden_dim = o.decoder_hidden_dim = o.expander_hidden_dim = 96;
    o.generator_hidden_dims[0] = o.critic_hidden_dims[0] = 400;
    o.summary_dim = 96;
    return o;
}

static tg_status make(void) {
    tg_model_options o = wide();
    tg_model *made = NULL;
    tg_status status = tg_model_new(&o, TG_DEVICE_CPU, &made);
    tg_model_free(made);
    return status;
}

static tg_status train(int32_t stage, uint64_t iterations) {
    tg_train_options o = tiny_training(model, stage, iterations);
    o.batch_size = 64;
    return tg_train_stage(model, data, stage, &o);
}

static tg_status train_1(void) { return train(TG_STAGE_AUTOENCODER, 3); }
static tg_status train_2(void) { return train(TG_STAGE_GAN, 3); }
static tg_status save(void) { return tg_model_save(model, "m.safetensors"); }

static tg_status load(void) {
    tg_model *loaded = NULL;
    tg_status status = tg_model_load("m.safetensors", TG_DEVICE_CPU, &loaded);
    tg_model_free(loaded);
    return status;
}

static tg_status generate(void) { return tg_generate(model, NULL, COUNT, NULL, points, STEPS, lengths); }

static float summaries[COUNT * 96];

static tg_status encode(void) { return tg_encode(model, points, STEPS, lengths, COUNT, 1, summaries, COUNT * 96); }

/* The first of a model makes weights of its own, and the first stream a copy of those. */
static tg_status encode_one(void) { return tg_encode(model, points, STEPS, lengths, 1, 1, summaries, 96); }
static tg_status decode_one(void) { return tg_decode(model, summaries, lengths, 1, 1, points, STEPS); }

/* Features are copied before they are encoded. */
static tg_status features_to_and_fro(void) {
    static float features[COUNT * STEPS * 8];
    for (int i = 0; i < COUNT; i++) lengths[i] = STEPS;
    tg_status status = tg_encode_features(model, features, STEPS, lengths, COUNT, 1, summaries, COUNT * 96);
    return status != TG_OK ? status : tg_decode_features(model, summaries, lengths, COUNT, 1, features, STEPS);
}

/* Of long movements the layers keep more than their points take. */
enum { LONG = 1000 };
static tg_status encode_long(void) {
    static const uint32_t length = LONG;
    return tg_encode(model, points, LONG, &length, 1, 1, summaries, 96);
}
static tg_status decode_long(void) {
    static const uint32_t length = LONG;
    return tg_decode(model, summaries, &length, 1, 1, points, LONG);
}
static tg_status generate_long(void) { return tg_generate(model, NULL, 1, NULL, points, LONG, lengths); }

static tg_status stream(void) {
    tg_stream *made = NULL;
    tg_status status = tg_stream_new(model, 0, 0, 90, 20, NULL, &made);
    tg_stream_free(made);
    return status;
}

static tg_status read_lines(void) {
    tg_dataset *opened = NULL;
    tg_status status = tg_dataset_open("moves.jsonl", NULL, &opened);
    tg_dataset_free(opened);
    return status;
}

static tg_status read_rows(void) {
    tg_dataset *opened = NULL;
    tg_status status = tg_dataset_open("rows.csv", NULL, &opened);
    tg_dataset_free(opened);
    return status;
}

/* Paths that are drawn out to ten seconds and polled 8000 times a second. */
enum { PATHS = 20, POLLED = 80002 };
static tg_status paths(void) {
    static double ends[PATHS][4];
    static uint32_t polled[PATHS];
    tg_path_options o;
    tg_status status = tg_path_options_init(&o, sizeof o);
    if (status != TG_OK) return status;
    o.polling_hz = 8000;
    o.min_duration_ms = o.max_duration_ms = 10000;
    for (int i = 0; i < PATHS; i++) ends[i][2] = 100 + i;
    return tg_paths(model, ends[0], PATHS, &o, points, POLLED, polled, NULL);
}

/* As one movement, as many points. */
static tg_status push(void) {
    tg_dataset *all = NULL;
    tg_status status = tg_dataset_new(1, &all);
    for (int i = 0; i < PATHS * POLLED; i++) points[i].t_ms = i;
    if (status == TG_OK) status = tg_dataset_push(all, points, (size_t)PATHS * POLLED, NULL);
    tg_dataset_free(all);
    return status;
}

/* One path of very many. */
static tg_status choose(void) {
    tg_path_options o;
    uint32_t length;
    tg_status status = tg_path_options_init(&o, sizeof o);
    if (status != TG_OK) return status;
    o.candidates = 1024;
    return tg_path(model, 0, 0, 90, 20, &o, points, STEPS, &length, NULL);
}

typedef struct {
    const char *name;
    tg_status (*call)(void);
    long step; /* bytes from one limit to the next */
    int after; /* what is done before: 0 nothing, 1 model and data, 2 stage 1, 3 stage 2, 4 movements; or what is loaded */
} one;

enum { SMALL = 5, WALKER, WALKED, DECODER, ENDLESS };
static const char *const FILES[] = {"small.safetensors", "walker.safetensors", "walker.safetensors", "v6.safetensors",
                                    "long.safetensors"};

static const one CASES[] = {
    {"new", make, 800 << 10, 0},         {"train 1", train_1, 4 << 20, 1},    {"train 2", train_2, 4 << 20, 2},
    {"save", save, 400 << 10, 2},        {"load", load, 800 << 10, 2},        {"generate", generate, 800 << 10, 3},
    {"encode", encode, 2 << 20, 4},      {"lines", read_lines, 400 << 10, 0}, {"rows", read_rows, 2 << 20, 0},
    {"paths", paths, 12 << 20, 3},       {"choose", choose, 400 << 10, SMALL},
    {"push", push, 4 << 20, 0},
    {"choose v6", choose, 1 << 20, DECODER},
    {"first encode", encode_one, 2 << 20, WALKER}, {"first stream", stream, 4 << 20, WALKER},
    {"stream", stream, 2 << 20, WALKED}, {"v6 encode", encode_one, 800 << 10, DECODER},
    {"v6 decode", decode_one, 800 << 10, DECODER},
    {"v6 features", features_to_and_fro, 2 << 20, DECODER},
    {"long encode", encode_long, 800 << 10, ENDLESS},
    {"long decode", decode_long, 2 << 20, ENDLESS},
    {"long generate", generate_long, 2 << 20, ENDLESS},
};

static void prepare(int after) {
    points = calloc((size_t)PATHS * POLLED, sizeof *points); /* COUNT * STEPS, too */
    CHECK(points != NULL);
    if (after >= SMALL) {
        OK(tg_model_load(FILES[after - SMALL], TG_DEVICE_CPU, &model));
        lengths[0] = arc(0, points);
        for (int t = (int)lengths[0]; t < LONG; t++) {
            points[t] = points[t - 1];
            points[t].t_ms += 8;
        }
        if (after == ENDLESS) OK(encode_one()); /* what all samples share is there */
        if (after == WALKED) OK(tg_path(model, 0, 0, 90, 20, NULL, points, STEPS, lengths, NULL));
        return;
    }
    if (after >= 1) {
        tg_model_options o = wide();
        data = arcs(60);
        OK(tg_model_new(&o, TG_DEVICE_CPU, &model));
    }
    if (after >= 2) OK(train(TG_STAGE_AUTOENCODER, 1));
    if (after == 2) OK(save());
    if (after >= 3) OK(train(TG_STAGE_GAN, 1));
    if (after < 4) return;
    OK(generate());
    for (int i = 0; i < COUNT; i++) lengths[i] = lengths[i] < 3 ? 3 : lengths[i];
}

enum { SMALL_ROOM = 64 << 10 };

static rlim_t address_space(void) {
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f != NULL && fscanf(f, "%lu", &pages) == 1 && fclose(f) == 0);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* How the call ended under the limit, in a process of its own: a tg_status, or KILLED and the signal. */
static int outcome(const one *c, long more) {
    int status;
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prepare(c->after);
        if (c->after >= 1) {
            void *volatile room = malloc(SMALL_ROOM); /* for what is small, whose lack ends the process: see ARCHITECTURE.md */
            free(room);
            malloc_trim(SMALL_ROOM);  /* so that no more is done in what preparing has freed */
        }
        struct rlimit limit, before;
        CHECK(getrlimit(RLIMIT_AS, &before) == 0);
        limit = before;
        limit.rlim_cur = address_space() + (rlim_t)more;
        CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
        tg_status got = c->call();
        CHECK(setrlimit(RLIMIT_AS, &before) == 0);
        if (got != TG_OK) CHECK(tg_last_error()[0] != 0);
        if (c->after >= 1) OK(tg_model_save(model, "after.safetensors"));
        if (c->after >= 1 && got == TG_ERR_MEMORY) OK(c->call());
        tg_model_free(model);
        tg_dataset_free(data);
        _exit((int)got);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : KILLED + WTERMSIG(status);
}

/* In a process of its own: what has been made before a fork is of no use after it. */
static void models(void) {
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        model = choosing_model();
        OK(tg_model_save(model, FILES[0]));
        data = arcs(60);
        static const int made[] = {WALKER, DECODER, ENDLESS};
        for (int i = 0; i < 3; i++) {
            tg_model_options o = wide();
            o.decoder = made[i] == WALKER ? TG_DECODER_CLOSED_LOOP : TG_DECODER_V6;
            if (made[i] == WALKER) o.expander_hidden_dim = 400;
            if (made[i] == ENDLESS) o.max_seq_len = LONG;
            OK(tg_model_new(&o, TG_DEVICE_CPU, &model));
            for (int32_t stage = TG_STAGE_AUTOENCODER; stage <= TG_STAGE_GAN; stage++) {
                tg_train_options t = tiny_training(model, stage, 1);
                t.generator_average = 0.9;
                OK(tg_train_stage(model, data, stage, &t));
            }
            OK(tg_model_save(model, FILES[made[i] - SMALL]));
        }
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void recordings(void) {
    FILE *lines = fopen("moves.jsonl", "w"), *rows = fopen("rows.csv", "w");
    CHECK(lines != NULL && rows != NULL);
    for (int i = 0; i < 5000; i++) fprintf(lines, "{\"x\":[0,%d,9,12],\"y\":[0,5,7,9],\"t\":[0,8,16,24]}\n", i % 50);
    fprintf(rows, "t,x,y\n");
    for (int i = 0; i < 50000; i++) fprintf(rows, "%d,%d,%d\n", 8 * i, i % 300, i % 70);
    CHECK(fclose(lines) == 0 && fclose(rows) == 0);
}

int main(void) {
    int bad = 0;
    CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1); /* stays so: what is large leaves the address space when it is freed */
    recordings();
    models();
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const one *c = CASES + i;
        int refused = 0, killed = 0, done = 0;
        for (int k = 0; k < TRIES && done < 3; k++) {
            int got = outcome(c, k * c->step);
            refused += got == TG_ERR_MEMORY;
            done += got == TG_OK || got == TG_ERR_FORMAT; /* rows.csv holds no movement */
            if (got >= KILLED) {
                killed++;
                printf("%s with %ld KiB more: killed by signal %d\n", c->name, k * c->step >> 10, got - KILLED);
            }
            CHECK(got == TG_OK || got == TG_ERR_MEMORY || got == TG_ERR_FORMAT || got >= KILLED);
        }
        printf("%s: %d refused, %d killed, then done\n", c->name, refused, killed);
        CHECK(done > 0 && refused > 0);
        bad += killed;
    }
    return bad != 0;
}
