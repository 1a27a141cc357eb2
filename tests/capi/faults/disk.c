/* Disks that fail: every system call of a save fails in turn, in every way; data that is lost without an error; kill -9 at
 * any moment. The file is the old one or the new one, whole, and after a failed save the next works. The program's own
 * write, fsync .. stand in front of the C library's, also for the shared library. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../check.h"

/* Calls that a save makes; LIE writes: all is well, and nothing is written. */
typedef enum { OPEN, WRITE, FSYNC, RENAME, READ, TRUNCATE, LIE, SHORT, CALLS } call;

static int armed, fault;
static call which;
static long count, fail_at;

/* Does this call fail? */
static int fails(call c) {
    if (!armed || c != which) return 0;
    return ++count == fail_at;
}

static long refused(void) {
    errno = fault;
    return -1;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, int) : 0;
    va_end(rest);
    return (int)(fails(OPEN) ? refused() : syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

ssize_t write(int fd, const void *bytes, size_t size) {
    if (fails(WRITE)) return refused();
    if (fails(LIE)) return (ssize_t)size;
    if (fails(SHORT) && size > 1) size /= 2;
    return syscall(SYS_write, fd, bytes, size);
}

int fsync(int fd) { return (int)(fails(FSYNC) ? refused() : syscall(SYS_fsync, fd)); }
int rename(const char *from, const char *to) { return (int)(fails(RENAME) ? refused() : syscall(SYS_rename, from, to)); }
ssize_t read(int fd, void *to, size_t size) { return fails(READ) ? refused() : syscall(SYS_read, fd, to, size); }
int ftruncate64(int fd, off_t size) { return (int)(fails(TRUNCATE) ? refused() : syscall(SYS_ftruncate, fd, size)); }

static const char *const PATH = "m.safetensors";

static char *slurp(size_t *size) {
    FILE *f = fopen(PATH, "rb");
    CHECK(f != NULL && fseek(f, 0, SEEK_END) == 0);
    *size = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*size);
    CHECK(bytes != NULL && fread(bytes, 1, *size, f) == *size && fclose(f) == 0);
    return bytes;
}

static void loads(void) {
    tg_model *model = NULL;
    OK(tg_model_load(PATH, TG_DEVICE_CPU, &model));
    tg_model_free(model);
}

static tg_status save(const tg_model *model, call c, long at, int error) {
    which = c, fail_at = at, fault = error, count = 0, armed = 1;
    tg_status status = tg_model_save(model, PATH);
    armed = 0;
    return status;
}

/* Each call of a kind in turn. A fault at the very end, where the folder is flushed, leaves the new file. */
static void one_kind(const tg_model *old, const tg_model *new, call c, int error) {
    static const char *const NAMES[CALLS] = {"open", "write", "fsync", "rename", "read", "truncate", "lie", "short"};
    long failed = 0;
    for (long at = 1;; at++) {
        size_t before, after, wanted;
        OK(tg_model_save(new, PATH));
        char *new_bytes = slurp(&wanted);
        OK(tg_model_save(old, PATH));
        char *old_bytes = slurp(&before);
        tg_status status = save(new, c, at, error);
        char *bytes = slurp(&after);
        int is_old = after == before && memcmp(bytes, old_bytes, after) == 0;
        int is_new = after == wanted && memcmp(bytes, new_bytes, after) == 0;
        int done = count < at; /* there are no more such calls */
        CHECK(is_old || is_new);
        CHECK(status == TG_OK ? is_new : status == TG_ERR_IO);
        if (status != TG_OK) {
            failed++;
            CHECK(is_old || c == FSYNC || c == OPEN);
            SAYS(PATH);
        }
        free(bytes), free(old_bytes), free(new_bytes);
        loads();
        CHECK(access(".m.safetensors.saving", F_OK) != 0 || status != TG_OK);
        if (done) break;
    }
    /* A write that was cut short or interrupted is taken up again. */
    CHECK((failed == 0) == (c == SHORT || error == EINTR));
    printf("%s, errno %d: %ld calls failed in turn\n", NAMES[c], error, failed);
}

/* A child saves without end, one model and the other, until it is killed. */
static void killed(const tg_model *a, const tg_model *b, int rounds) {
    size_t size_a, size_b, size;
    OK(tg_model_save(a, PATH));
    char *bytes_a = slurp(&size_a);
    OK(tg_model_save(b, PATH));
    char *bytes_b = slurp(&size_b);
    int as = 0;
    for (int i = 0; i < rounds; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            tg_model *own[2]; /* handles are not for children */
            own[0] = tiny_model(TG_DECODER_V6), own[1] = trained_model(TG_DECODER_V6);
            for (int k = 0;; k++) OK(tg_model_save(own[k % 2], PATH));
        }
        struct timespec wait = {0, (20 + i * 7919 % 60) * 1000000L + i * 104729 % 1000000L};
        nanosleep(&wait, NULL);
        CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
        char *bytes = slurp(&size);
        int is_a = size == size_a && memcmp(bytes, bytes_a, size) == 0;
        CHECK(is_a || (size == size_b && memcmp(bytes, bytes_b, size) == 0));
        as += is_a;
        free(bytes);
        loads();
    }
    /* What the last kill left behind does not stand in the way, and is not left. */
    OK(tg_model_save(a, PATH));
    CHECK(access(".m.safetensors.saving", F_OK) != 0);
    printf("%d kills: %d times one model, %d times the other\n", rounds, as, rounds - as);
    free(bytes_a), free(bytes_b);
}

int main(int argc, char **argv) {
    tg_model *old = tiny_model(TG_DECODER_V6), *new = trained_model(TG_DECODER_V6);
    static const int errors[] = {EIO, ENOSPC, EACCES, EMFILE};
    for (size_t e = 0; e < sizeof errors / sizeof *errors; e++) {
        for (call c = OPEN; c <= TRUNCATE; c++) one_kind(old, new, c, errors[e]);
    }
    one_kind(old, new, WRITE, EINTR);
    one_kind(old, new, READ, EINTR);
    one_kind(old, new, SHORT, 0);
    one_kind(old, new, LIE, EIO);
    killed(old, new, argc > 1 ? atoi(argv[1]) : 60);
    tg_model_free(old);
    tg_model_free(new);
    return 0;
}
