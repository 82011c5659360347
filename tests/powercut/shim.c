/* Preloaded into a process: records what it does to files below a folder, and can refuse it.
 *
 * $SHIM_ROOT is the folder, $SHIM_LOG the file that the records are appended to. A record is a
 * header of five 64-bit integers (kind, inode, number, lengths of two byte strings) and the two
 * strings. `shim_mark` appends a record of the caller's, `shim_refuse` lets later calls fail.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((typeof(&name))real(#name))
#define ALIAS(other, name) extern typeof(name) other __attribute__((alias(#name)))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long countdown = -1;
static int refusal, for_ever;
static char only;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static int below(const char *path) {
    const char *root = getenv("SHIM_ROOT");
    size_t length = root ? strlen(root) : 0;
    return length && !strncmp(path, root, length) && (!path[length] || path[length] == '/');
}

/* The absolute path of a name, which may be relative to a folder's descriptor. */
static int place(int folder, const char *name, char *out) {
    if (name[0] == '/') return snprintf(out, PATH_MAX, "%s", name), below(out);
    char link[64];
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, out, PATH_MAX - 1);
    if (length < 0) return 0;
    snprintf(out + length, PATH_MAX - length, name[0] ? "/%s" : "%s", name);
    return below(out);
}

static int ours(int fd) {
    char path[PATH_MAX];
    return place(fd, "", path);
}

static ino_t inode(int fd) {
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_ino;
}

static void put(char kind, ino_t ino, off_t number, const char *one, size_t first,
                const void *two, size_t second) {
    long long head[5] = {kind, (long long)ino, number, (long long)first, (long long)second};
    struct iovec parts[3] = {{head, sizeof head}, {(void *)one, first}, {(void *)two, second}};
    int before = errno, fd = -1;
    const char *log = getenv("SHIM_LOG");
    if (log) fd = REAL(open)(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && REAL(writev)(fd, parts, 3) < 0) abort();
    if (fd >= 0) REAL(close)(fd);
    errno = before;
}

void shim_mark(const char *text) { put('M', 0, 0, text, strlen(text), "", 0); }

/* Let the nth call from now on fail, and all after it if so wanted; of one kind, or 0 for any. */
void shim_refuse(long nth, int error, int always, char kind) {
    countdown = nth, refusal = error, for_ever = always, only = kind;
}

/* How many calls are left to count; 0 or less once one was refused. */
long shim_left(void) { return countdown; }

static int refused(char kind) {
    if (countdown < 0 || (only && only != kind)) return 0;
    if (countdown > 0) countdown--;
    if (countdown) return 0;
    if (!for_ever) countdown = -1;
    errno = refusal;
    return 1;
}

int openat(int folder, const char *name, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    char path[PATH_MAX];
    if (!(flags & (O_CREAT | O_TRUNC)) || !place(folder, name, path))
        return REAL(openat)(folder, name, flags, mode);
    pthread_mutex_lock(&lock);
    int fd = refused('O') ? -1 : REAL(openat)(folder, name, flags, mode);
    if (fd >= 0) put('O', inode(fd), 0, path, strlen(path), "", 0);
    if (fd >= 0 && flags & O_TRUNC) put('T', inode(fd), 0, "", 0, "", 0);
    pthread_mutex_unlock(&lock);
    return fd;
}
ALIAS(openat64, openat);

int open(const char *name, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return openat(AT_FDCWD, name, flags, mode);
}
ALIAS(open64, open);

/* What is written through stdio is recorded when the file is closed. */
FILE *fopen(const char *name, const char *how) {
    char path[PATH_MAX];
    if (how[0] == 'r' || !place(AT_FDCWD, name, path)) return REAL(fopen)(name, how);
    FILE *file = refused('O') ? NULL : REAL(fopen)(name, how);
    if (file) put('O', inode(fileno(file)), 0, path, strlen(path), "", 0);
    if (file) put('T', inode(fileno(file)), 0, "", 0, "", 0);
    return file;
}
ALIAS(fopen64, fopen);

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    if (countdown >= 0 && ours(fileno(file)) && refused('W')) return 0;
    return REAL(fwrite)(data, size, count, file);
}

int fclose(FILE *file) {
    char path[PATH_MAX];
    struct stat found;
    int wrote = place(fileno(file), "", path) && !fflush(file) && !stat(path, &found);
    int copy = wrote ? REAL(open)(path, O_RDONLY) : -1;
    if (copy >= 0) {
        char *data = malloc(found.st_size + 1);
        ssize_t size = pread(copy, data, found.st_size, 0);
        put('W', found.st_ino, 0, "", 0, data, size);
        free(data);
        REAL(close)(copy);
    }
    return REAL(fclose)(file);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    if (!ours(fd)) return REAL(pwrite)(fd, data, size, at);
    pthread_mutex_lock(&lock);
    ssize_t done = refused('W') ? -1 : REAL(pwrite)(fd, data, size, at);
    if (done > 0) put('W', inode(fd), at, "", 0, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}
ALIAS(pwrite64, pwrite);

ssize_t write(int fd, const void *data, size_t size) {
    if (!ours(fd)) return REAL(write)(fd, data, size);
    pthread_mutex_lock(&lock);
    ssize_t done = refused('W') ? -1 : REAL(write)(fd, data, size);
    if (done > 0) put('W', inode(fd), lseek(fd, 0, SEEK_CUR) - done, "", 0, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}

/* A call with a descriptor, and its record. */
#define WITH_FD(kind, number, call)                     \
    if (!ours(fd)) return call;                         \
    pthread_mutex_lock(&lock);                          \
    int done = refused(kind) ? -1 : call;                   \
    if (!done) put(kind, inode(fd), number, "", 0, "", 0); \
    pthread_mutex_unlock(&lock);                        \
    return done;

int ftruncate(int fd, off_t size) { WITH_FD('T', size, REAL(ftruncate)(fd, size)) }
ALIAS(ftruncate64, ftruncate);
int fsync(int fd) { WITH_FD('S', 0, REAL(fsync)(fd)) }
int fdatasync(int fd) { WITH_FD('S', 0, REAL(fdatasync)(fd)) }

/* A call with a name, and its record. */
#define WITH_NAME(kind, folder, name, call)                                   \
    char path[PATH_MAX];                                                      \
    if (!place(folder, name, path)) return call;                              \
    pthread_mutex_lock(&lock);                                                \
    int done = refused(kind) ? -1 : call;                                         \
    struct stat found = {0};                                                  \
    if (!done) lstat(path, &found);                                           \
    if (!done) put(kind, found.st_ino, 0, path, strlen(path), "", 0);         \
    pthread_mutex_unlock(&lock);                                              \
    return done;

int unlink(const char *name) { WITH_NAME('U', AT_FDCWD, name, REAL(unlink)(name)) }
int rmdir(const char *name) { WITH_NAME('U', AT_FDCWD, name, REAL(rmdir)(name)) }
int unlinkat(int folder, const char *name, int flags) {
    WITH_NAME('U', folder, name, REAL(unlinkat)(folder, name, flags))
}
int mkdir(const char *name, mode_t mode) { WITH_NAME('D', AT_FDCWD, name, REAL(mkdir)(name, mode)) }
int mkdirat(int folder, const char *name, mode_t mode) {
    WITH_NAME('D', folder, name, REAL(mkdirat)(folder, name, mode))
}

int renameat(int from, const char *old, int to, const char *name) {
    char one[PATH_MAX], two[PATH_MAX];
    if (!place(from, old, one) || !place(to, name, two)) return REAL(renameat)(from, old, to, name);
    pthread_mutex_lock(&lock);
    int done = refused('R') ? -1 : REAL(renameat)(from, old, to, name);
    if (!done) put('R', 0, 0, one, strlen(one), two, strlen(two));
    pthread_mutex_unlock(&lock);
    return done;
}
int rename(const char *old, const char *name) { return renameat(AT_FDCWD, old, AT_FDCWD, name); }
