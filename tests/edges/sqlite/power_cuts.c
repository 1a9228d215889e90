/* What does a process do to the files of one directory, in which order? Preloaded, it writes down every operation.
 *
 * record_start(directory, trace, stop, fail) begins. A record is a header (kind, descriptor, offset, length) and `length` bytes.
 * The process ends, as by kill -9, right after `stop` operations, or where it begins its fsync number `-stop`; 0: it goes on.
 * Its fsync number `fail` fails; 0: none.
 * fsync is noted and not done: the test decides what the disk has kept, and a record where it began and where it returned
 * is all that this needs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, CREATE, WRITE, TRUNCATE, SYNC_BEGIN, SYNC_END, UNLINK, SYNC_FAILED };
enum { DESCRIPTORS = 4096 };

struct header {
    uint32_t kind;
    int32_t descriptor;
    uint64_t offset, length;
};

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static char directory[4096];
static size_t directory_length;
static int trace = -1;
static long left = 0, failing = 0;
static char followed[DESCRIPTORS];

static void note(uint32_t kind, int descriptor, uint64_t offset, const void *data, size_t length) {
    struct header header = {kind, descriptor, offset, length};
    struct iovec parts[2] = {{&header, sizeof header}, {(void *)data, length}};
    ssize_t done = syscall(SYS_writev, trace, parts, 2);
    if (done < 0 || (size_t)done != sizeof header + length) _exit(99); /* a trace with a hole proves nothing */
    if (left > 0 && !--left) _exit(0);
    if (left < 0 && kind == SYNC_BEGIN && !++left) _exit(0);
}

static int is_followed(int descriptor) {
    return trace >= 0 && descriptor >= 0 && descriptor < DESCRIPTORS && followed[descriptor];
}

static int is_inside(const char *path) {
    return trace >= 0 && !strncmp(path, directory, directory_length) && (!path[directory_length] || path[directory_length] == '/');
}

void record_start(const char *where, const char *to, long stop, long fail) {
    left = stop;
    failing = fail;
    trace = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    directory_length = strlen(where);
    memcpy(directory, where, directory_length + 1);
}

static int opened(const char *path, int flags, mode_t mode) {
    struct stat before;
    if (!is_inside(path)) {
        int descriptor = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
        if (descriptor >= 0 && descriptor < DESCRIPTORS) followed[descriptor] = 0;
        return descriptor;
    }
    pthread_mutex_lock(&turn);
    int existed = !stat(path, &before);
    int descriptor = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (descriptor >= DESCRIPTORS) _exit(99);
    if (descriptor >= 0) {
        followed[descriptor] = 1;
        note(existed ? OPEN : CREATE, descriptor, 0, path, strlen(path));
        if (existed && flags & O_TRUNC) note(TRUNCATE, descriptor, 0, "", 0);
    }
    pthread_mutex_unlock(&turn);
    return descriptor;
}

#define OPENED(name)                              \
    int name(const char *path, int flags, ...) {  \
        va_list rest;                             \
        va_start(rest, flags);                    \
        mode_t mode = va_arg(rest, mode_t);       \
        va_end(rest);                             \
        return opened(path, flags, mode);         \
    }
OPENED(open)
OPENED(open64)

int close(int descriptor) {
    pthread_mutex_lock(&turn);
    if (descriptor >= 0 && descriptor < DESCRIPTORS) followed[descriptor] = 0;
    int failed = syscall(SYS_close, descriptor);
    pthread_mutex_unlock(&turn);
    return failed;
}

static ssize_t written(int descriptor, const void *data, size_t length, off_t offset) {
    pthread_mutex_lock(&turn);
    ssize_t done = syscall(SYS_pwrite64, descriptor, data, length, offset);
    if (done > 0) note(WRITE, descriptor, offset, data, done);
    pthread_mutex_unlock(&turn);
    return done;
}

ssize_t pwrite(int descriptor, const void *data, size_t length, off_t offset) {
    if (!is_followed(descriptor)) return syscall(SYS_pwrite64, descriptor, data, length, offset);
    return written(descriptor, data, length, offset);
}

ssize_t pwrite64(int descriptor, const void *data, size_t length, off64_t offset) {
    return pwrite(descriptor, data, length, offset);
}

ssize_t write(int descriptor, const void *data, size_t length) {
    if (!is_followed(descriptor)) return syscall(SYS_write, descriptor, data, length);
    pthread_mutex_lock(&turn);
    off_t end = lseek(descriptor, 0, SEEK_END); /* only the journal is written so, and it is only appended to */
    ssize_t done = syscall(SYS_write, descriptor, data, length);
    if (done > 0) note(WRITE, descriptor, end, data, done);
    pthread_mutex_unlock(&turn);
    return done;
}

int ftruncate(int descriptor, off_t length) {
    if (!is_followed(descriptor)) return syscall(SYS_ftruncate, descriptor, length);
    pthread_mutex_lock(&turn);
    int failed = syscall(SYS_ftruncate, descriptor, length);
    if (!failed) note(TRUNCATE, descriptor, length, "", 0);
    pthread_mutex_unlock(&turn);
    return failed;
}

int ftruncate64(int descriptor, off64_t length) {
    return ftruncate(descriptor, length);
}

int fsync(int descriptor) {
    if (!is_followed(descriptor)) return syscall(SYS_fsync, descriptor);
    pthread_mutex_lock(&turn);
    note(SYNC_BEGIN, descriptor, 0, "", 0);
    int fails = failing && !--failing;
    pthread_mutex_unlock(&turn);
    usleep(50);
    pthread_mutex_lock(&turn);
    note(fails ? SYNC_FAILED : SYNC_END, descriptor, 0, "", 0);
    pthread_mutex_unlock(&turn);
    errno = EIO;
    return fails ? -1 : 0;
}

int fdatasync(int descriptor) {
    return fsync(descriptor);
}

int unlink(const char *path) {
    if (!is_inside(path)) return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_lock(&turn);
    int failed = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (!failed) note(UNLINK, -1, 0, path, strlen(path));
    pthread_mutex_unlock(&turn);
    return failed;
}

/* What the trace could not tell must not happen. */
int rename(const char *from, const char *to) {
    if (is_inside(from) || is_inside(to)) _exit(98);
    return syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}

int fallocate64(int descriptor, int mode, off64_t offset, off64_t length) {
    if (is_followed(descriptor)) _exit(98);
    return syscall(SYS_fallocate, descriptor, mode, offset, length);
}
