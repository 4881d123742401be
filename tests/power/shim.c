/* What a process does to the files of one folder: recorded, or made to fail (LD_PRELOAD).
 *
 * POWER_ROOT   the folder, an absolute path without links
 * POWER_TRACE  where records are appended: op, inode, a, b, lengths of path and data (all 64 bits,
 *              native order), path, data
 *
 * power_mark() puts a text of the program's own into the trace. power_fault() makes calls fail.
 * The order of records is the order of effects: one lock is held around each call and its record.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 4096

enum { NO_FILE, A_FILE, A_FOLDER };
enum { READS = 1, GROWS = 2, CHANGES = 4, SYNCS = 8 };
enum { FAILS = 0, SHORT = 1, KILLS = 2 };

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static char root[PATH_MAX];
static size_t root_length;
static int trace = -1;
static struct { char kind; char appends; uint64_t inode; char *path; } files[FILES];
static struct fault { long nth; int kinds, how, error, lasting; long calls; } *fault;

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)

__attribute__((constructor)) static void begin(void)
{
    const char *folder = getenv("POWER_ROOT"), *to = getenv("POWER_TRACE");
    if (folder && realpath(folder, root)) root_length = strlen(root);
    fault = mmap(NULL, sizeof *fault, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fault == MAP_FAILED) abort();
    if (to) trace = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static void record(char op, uint64_t inode, uint64_t a, uint64_t b, const char *path,
                   const void *data, size_t size)
{
    if (trace < 0) return;
    uint64_t head[6] = {(uint64_t)op, inode, a, b, path ? strlen(path) : 0, size};
    struct iovec parts[3] = {{head, sizeof head}, {(void *)path, head[4]}, {(void *)data, size}};
    size_t all = sizeof head + head[4] + size;
    if (syscall(SYS_writev, trace, parts, 3) != (long)all) abort();
}

void power_mark(const char *text)
{
    pthread_mutex_lock(&lock);
    record('P', 0, 0, 0, NULL, text, strlen(text));
    pthread_mutex_unlock(&lock);
}

/* From now on, in this process and those that it forks, the nth of the calls of these kinds
 * fails; if lasting, those after it too. */
void power_fault(long nth, int kinds, int how, int error, int lasting)
{
    fault->nth = nth, fault->kinds = kinds, fault->how = how, fault->error = error;
    fault->lasting = lasting, fault->calls = 0;
}

/* How many calls of these kinds there were since. */
long power_calls(void) { return fault->calls; }

/* The path from the root of the file system on, its folder free of links; NULL: outside. */
static char *inside(int folder, const char *path)
{
    static __thread char found[PATH_MAX * 2];
    char given[PATH_MAX], resolved[PATH_MAX];
    if (!root_length || !path) return NULL;
    if (path[0] == '/' || folder == AT_FDCWD) {
        if (snprintf(given, sizeof given, "%s", path) >= (int)sizeof given) return NULL;
    } else {
        char link[64], base[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0) return NULL;
        base[length] = 0;
        if (snprintf(given, sizeof given, "%s/%s", base, path) >= (int)sizeof given) return NULL;
    }
    size_t length = strlen(given);
    while (length > 1 && given[length - 1] == '/') given[--length] = 0;
    char *slash = strrchr(given, '/');
    const char *name = slash ? slash + 1 : given;
    if (slash == given) strcpy(resolved, "");
    else {
        if (slash) *slash = 0;
        if (!realpath(slash ? given : ".", resolved)) return NULL;
    }
    snprintf(found, sizeof found, "%s/%s", resolved, name);
    if (strncmp(found, root, root_length) || (found[root_length] && found[root_length] != '/'))
        return NULL;
    return found;
}

static int known(int fd) { return fd >= 0 && fd < FILES ? files[fd].kind : NO_FILE; }

static void forget(int fd)
{
    if (!known(fd)) return;
    free(files[fd].path);
    memset(&files[fd], 0, sizeof files[fd]);
}

static void copy(int from, int to)
{
    if (to < 0 || to >= FILES || from == to) return;
    forget(to);
    if (!known(from)) return;
    files[to] = files[from];
    files[to].path = strdup(files[from].path);
}

/* Whether this call is to fail, and how: -1 not at all, else FAILS or SHORT; errno is set. */
static int failing(int kind)
{
    if (!(fault->kinds & kind)) return -1;
    long call = ++fault->calls;
    if (!fault->nth || call < fault->nth || (call > fault->nth && !fault->lasting)) return -1;
    if (fault->how == KILLS) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    errno = fault->error;
    return fault->how;
}

static int fails(int kind) { return failing(kind) == FAILS; }

#define LOCKED pthread_mutex_lock(&lock)
#define DONE(value) do { int saved = errno; pthread_mutex_unlock(&lock); errno = saved; return value; } while (0)

static int opened(int (*real)(int, const char *, int, ...), int folder, const char *path,
                  int flags, mode_t mode)
{
    LOCKED;
    char *found = inside(folder, path);
    if (!found) {
        int other = real(folder, path, flags, mode);
        DONE(other);
    }
    char name[PATH_MAX * 2];
    strcpy(name, found);
    struct stat before, after;
    int there = !syscall(SYS_newfstatat, AT_FDCWD, name, &before, 0);
    int writes = (flags & O_ACCMODE) != O_RDONLY;
    int kind = !there && (flags & O_CREAT) ? GROWS : writes && there && (flags & O_TRUNC) ? CHANGES : READS;
    if (fails(kind)) DONE(-1);
    int fd = real(folder, path, flags, mode);
    if (fd < 0) DONE(fd);
    if (fd >= FILES || fstat(fd, &after)) { record('?', 0, 0, 0, name, "open", 4); DONE(fd); }
    forget(fd);
    if (!S_ISREG(after.st_mode) && !S_ISDIR(after.st_mode)) DONE(fd);
    files[fd].kind = S_ISDIR(after.st_mode) ? A_FOLDER : A_FILE;
    files[fd].appends = !!(flags & O_APPEND);
    files[fd].inode = after.st_ino;
    files[fd].path = strdup(name);
    if (!there) record('C', after.st_ino, 0, 0, name, NULL, 0);
    else if (writes && (flags & O_TRUNC)) record('T', after.st_ino, 0, 0, NULL, NULL, 0);
    DONE(fd);
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | __O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
#define OPENAT(name) int name(int folder, const char *path, int flags, ...) { MODE REAL(int, #name, int, const char *, int, ...); return opened(real, folder, path, flags, mode); }
OPENAT(openat) OPENAT(openat64)
#define OPEN(name, at) int name(const char *path, int flags, ...) { MODE REAL(int, #at, int, const char *, int, ...); return opened(real, AT_FDCWD, path, flags, mode); }
OPEN(open, openat) OPEN(open64, openat64)
int creat(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open64(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd)
{
    REAL(int, "close", int);
    LOCKED;
    forget(fd);
    int done = real(fd);
    DONE(done);
}

int dup(int fd) { REAL(int, "dup", int); LOCKED; int got = real(fd); if (got >= 0) copy(fd, got); DONE(got); }
int dup2(int fd, int to) { REAL(int, "dup2", int, int); LOCKED; int got = real(fd, to); if (got >= 0) copy(fd, got); DONE(got); }
int dup3(int fd, int to, int flags) { REAL(int, "dup3", int, int, int); LOCKED; int got = real(fd, to, flags); if (got >= 0) copy(fd, got); DONE(got); }
#define FCNTL(name) int name(int fd, int what, ...) { \
    REAL(int, #name, int, int, ...); \
    va_list more; va_start(more, what); void *with = va_arg(more, void *); va_end(more); \
    if (what != F_DUPFD && what != F_DUPFD_CLOEXEC) return real(fd, what, with); \
    LOCKED; int got = real(fd, what, with); if (got >= 0) copy(fd, got); DONE(got); }
FCNTL(fcntl) FCNTL(fcntl64)

static ssize_t written(ssize_t (*real)(int, const void *, size_t, off_t), int fd, const void *data,
                       size_t size, off_t at)
{
    int how = failing(GROWS);
    if (how == FAILS) return -1;
    if (how == SHORT && size > 1) size /= 2;
    ssize_t done = real(fd, data, size, at);
    if (done > 0) record('W', files[fd].inode, at, done, NULL, data, done);
    return done;
}

#define PWRITE(name) ssize_t name(int fd, const void *data, size_t size, off_t at) { \
    REAL(ssize_t, #name, int, const void *, size_t, off_t); \
    if (known(fd) != A_FILE) return real(fd, data, size, at); \
    LOCKED; ssize_t done = written(real, fd, data, size, at); DONE(done); }
PWRITE(pwrite) PWRITE(pwrite64)

static ssize_t plain(int fd, const void *data, size_t size, off_t at)
{
    (void)at;
    return syscall(SYS_write, fd, data, size);
}

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    if (known(fd) != A_FILE) return real(fd, data, size);
    LOCKED;
    struct stat now;
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (files[fd].appends && !fstat(fd, &now)) at = now.st_size;
    ssize_t done = written(plain, fd, data, size, at);
    DONE(done);
}

static ssize_t gathered(int fd, const struct iovec *parts, int count, off_t at, int moves)
{
    ssize_t all = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = moves ? write(fd, parts[i].iov_base, parts[i].iov_len)
                             : pwrite(fd, parts[i].iov_base, parts[i].iov_len, at + all);
        if (done < 0) return all ? all : -1;
        all += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return all;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return known(fd) == A_FILE ? gathered(fd, parts, count, 0, 1) : real(fd, parts, count);
}
#define PWRITEV(name) ssize_t name(int fd, const struct iovec *parts, int count, off_t at) { \
    REAL(ssize_t, #name, int, const struct iovec *, int, off_t); \
    return known(fd) == A_FILE ? gathered(fd, parts, count, at, 0) : real(fd, parts, count, at); }
PWRITEV(pwritev) PWRITEV(pwritev64)

#define READ(name, type, args, call) ssize_t name args { \
    REAL(ssize_t, #name, type); \
    if (known(fd) == NO_FILE) return real call; \
    LOCKED; ssize_t done = fails(READS) ? -1 : real call; DONE(done); }
#define COMMA ,
READ(read, int COMMA void * COMMA size_t, (int fd, void *data, size_t size), (fd, data, size))
READ(pread, int COMMA void * COMMA size_t COMMA off_t, (int fd, void *data, size_t size, off_t at), (fd, data, size, at))
READ(pread64, int COMMA void * COMMA size_t COMMA off_t, (int fd, void *data, size_t size, off_t at), (fd, data, size, at))

#define FTRUNCATE(name) int name(int fd, off_t size) { \
    REAL(int, #name, int, off_t); \
    if (known(fd) != A_FILE) return real(fd, size); \
    LOCKED; if (fails(CHANGES)) DONE(-1); \
    int done = real(fd, size); \
    if (!done) record('T', files[fd].inode, size, 0, NULL, NULL, 0); \
    DONE(done); }
FTRUNCATE(ftruncate) FTRUNCATE(ftruncate64)

#define TRUNCATE(name) int name(const char *path, off_t size) { \
    REAL(int, #name, const char *, off_t); \
    LOCKED; char *found = inside(AT_FDCWD, path); struct stat file; \
    if (found && fails(CHANGES)) DONE(-1); \
    int done = real(path, size); \
    if (found && !done && !stat(path, &file)) record('T', file.st_ino, size, 0, NULL, NULL, 0); \
    DONE(done); }
TRUNCATE(truncate) TRUNCATE(truncate64)

/* posix_fallocate gives its error back, fallocate puts it into errno. */
#define ALLOCATE(name) int name(int fd, off_t at, off_t size) { \
    REAL(int, #name, int, off_t, off_t); \
    if (known(fd) != A_FILE) return real(fd, at, size); \
    LOCKED; if (fails(GROWS)) { int error = errno; DONE(error); } \
    int done = real(fd, at, size); \
    if (!done) record('A', files[fd].inode, at, size, NULL, NULL, 0); \
    DONE(done); }
ALLOCATE(posix_fallocate) ALLOCATE(posix_fallocate64)
#define FALLOCATE(name) int name(int fd, int mode, off_t at, off_t size) { \
    REAL(int, #name, int, int, off_t, off_t); \
    if (known(fd) != A_FILE) return real(fd, mode, at, size); \
    LOCKED; if (fails(GROWS)) DONE(-1); \
    int done = real(fd, mode, at, size); \
    if (!done) record(mode ? '?' : 'A', files[fd].inode, at, size, mode ? #name : NULL, NULL, 0); \
    DONE(done); }
FALLOCATE(fallocate) FALLOCATE(fallocate64)

#define SYNC(name) int name(int fd) { \
    REAL(int, #name, int); \
    if (known(fd) == NO_FILE) return real(fd); \
    LOCKED; if (fails(SYNCS)) DONE(-1); \
    int done = real(fd); \
    if (!done && known(fd) == A_FILE) record('S', files[fd].inode, 0, 0, NULL, NULL, 0); \
    else if (!done) record('D', 0, 0, 0, files[fd].path, NULL, 0); \
    DONE(done); }
SYNC(fsync) SYNC(fdatasync)

/* Calls that change a name: `what` does it, `op` is its record. */
#define NAMED(kind, op, folder, path, what) do { \
    LOCKED; \
    char *found = inside(folder, path), name[PATH_MAX * 2]; \
    if (found) strcpy(name, found); \
    if (found && fails(kind)) DONE(-1); \
    int done = what; \
    if (found && !done) record(op, 0, 0, 0, name, op == '?' ? __func__ : NULL, op == '?' ? strlen(__func__) : 0); \
    DONE(done); } while (0)

int unlink(const char *path) { REAL(int, "unlink", const char *); NAMED(CHANGES, 'U', AT_FDCWD, path, real(path)); }
int rmdir(const char *path) { REAL(int, "rmdir", const char *); NAMED(CHANGES, 'X', AT_FDCWD, path, real(path)); }
int unlinkat(int folder, const char *path, int flags)
{
    REAL(int, "unlinkat", int, const char *, int);
    NAMED(CHANGES, (flags & AT_REMOVEDIR ? 'X' : 'U'), folder, path, real(folder, path, flags));
}
int remove(const char *path) { REAL(int, "remove", const char *); NAMED(CHANGES, '?', AT_FDCWD, path, real(path)); }
static int linked(int (*real)(const char *, const char *), const char *from, const char *to)
{
    LOCKED;
    char one[PATH_MAX * 2] = "", two[PATH_MAX * 2] = "", *found;
    if ((found = inside(AT_FDCWD, from))) strcpy(one, found);
    if ((found = inside(AT_FDCWD, to))) strcpy(two, found);
    if (*two && fails(GROWS)) DONE(-1);
    int done = real(from, to);
    if (!done && *two) record(*one ? 'L' : '?', 0, 0, 0, one, two, strlen(two));
    DONE(done);
}
int mkdir(const char *path, mode_t mode) { REAL(int, "mkdir", const char *, mode_t); NAMED(GROWS, 'M', AT_FDCWD, path, real(path, mode)); }
int mkdirat(int folder, const char *path, mode_t mode) { REAL(int, "mkdirat", int, const char *, mode_t); NAMED(GROWS, 'M', folder, path, real(folder, path, mode)); }
int link(const char *from, const char *path) { REAL(int, "link", const char *, const char *); return linked(real, from, path); }
int symlink(const char *to, const char *path) { REAL(int, "symlink", const char *, const char *); NAMED(GROWS, '?', AT_FDCWD, path, real(to, path)); }
int symlinkat(const char *to, int folder, const char *path) { REAL(int, "symlinkat", const char *, int, const char *); NAMED(GROWS, '?', folder, path, real(to, folder, path)); }
int linkat(int a, const char *from, int b, const char *path, int flags)
{
    REAL(int, "linkat", int, const char *, int, const char *, int);
    if (a == AT_FDCWD && b == AT_FDCWD) return link(from, path);
    NAMED(GROWS, '?', b, path, real(a, from, b, path, flags));
}

static int renamed(int a, const char *from, int b, const char *to, unsigned flags)
{
    LOCKED;
    char one[PATH_MAX * 2] = "", two[PATH_MAX * 2] = "", *found;
    if ((found = inside(a, from))) strcpy(one, found);
    if ((found = inside(b, to))) strcpy(two, found);
    if ((*one || *two) && fails(CHANGES)) DONE(-1);
    int done = syscall(SYS_renameat2, a, from, b, to, flags);
    if (!done && (*one || *two)) record(*one && *two && !flags ? 'R' : '?', 0, 0, 0, one, two, strlen(two));
    DONE(done);
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return renamed(a, from, b, to, flags); }

#define MMAP(name) void *name(void *wanted, size_t size, int may, int flags, int fd, off_t at) { \
    REAL(void *, #name, void *, size_t, int, int, int, off_t); \
    void *map = real(wanted, size, may, flags, fd, at); \
    if (map != MAP_FAILED && (flags & MAP_SHARED) && (may & PROT_WRITE) && known(fd) == A_FILE) { \
        LOCKED; record('m', files[fd].inode, 0, 0, files[fd].path, NULL, 0); pthread_mutex_unlock(&lock); } \
    return map; }
MMAP(mmap) MMAP(mmap64)

/* Calls that the model does not know: whoever begins to use them must teach it. */
#define UNKNOWN(name, args, types, fd, call) ssize_t name args { \
    REAL(ssize_t, #name, types); \
    ssize_t done = real call; \
    if (known(fd) != NO_FILE) { LOCKED; record('?', 0, 0, 0, files[fd].path, #name, strlen(#name)); pthread_mutex_unlock(&lock); } \
    return done; }
UNKNOWN(sendfile, (int to, int from, off_t *at, size_t size), int COMMA int COMMA off_t * COMMA size_t, to, (to, from, at, size))
UNKNOWN(sendfile64, (int to, int from, off_t *at, size_t size), int COMMA int COMMA off_t * COMMA size_t, to, (to, from, at, size))
UNKNOWN(copy_file_range, (int from, off_t *a, int to, off_t *b, size_t size, unsigned flags), int COMMA off_t * COMMA int COMMA off_t * COMMA size_t COMMA unsigned, to, (from, a, to, b, size, flags))

static FILE *streamed(FILE *(*real)(const char *, const char *), const char *path, const char *mode)
{
    char *found = inside(AT_FDCWD, path);
    if (found && strpbrk(mode, "wa+")) record('?', 0, 0, 0, found, "fopen", 5);
    return real(path, mode);
}
FILE *fopen(const char *path, const char *mode) { REAL(FILE *, "fopen", const char *, const char *); return streamed(real, path, mode); }
FILE *fopen64(const char *path, const char *mode) { REAL(FILE *, "fopen64", const char *, const char *); return streamed(real, path, mode); }
