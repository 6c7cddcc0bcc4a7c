/*
 * LD_PRELOAD: counts the calls that change files below one folder, and lets one of them fail or end
 * the process. torture_arm says which; before it, and everywhere else, all calls are the system's.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, WRITE = 2, RENAME = 4, FSYNC = 8, CLOSE = 16, MKDIR = 32, UNLINK = 64 };
enum { MOST_FILES = 65536 };

static char folder[PATH_MAX];
static size_t folder_length;
static int watched, error_number, signal_number, after, from_then_on;
static long at;
static atomic_long* counter; /* shared with the process that looks on */
static unsigned char below[MOST_FILES];

/* The at-th call of the kinds in watched (0-based; -1: none) of files below path fails with error,
 * and those behind it too if sticky; or signal is sent before it, or after it if late. shared: a
 * file of 8 bytes. */
void torture_arm(const char* path, int kinds, long which, int error, int sticky, int signal,
                 int late, int shared) {
  strncpy(folder, path, sizeof folder - 1);
  folder_length = strlen(folder);
  watched = kinds, at = which, error_number = error, from_then_on = sticky;
  signal_number = signal, after = late;
  /* Never unmapped: files are closed after the interpreter has ended, too. */
  void* mapped = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
  counter = mapped == MAP_FAILED ? NULL : mapped;
}

static int is_below(const char* path) {
  return counter && path && strncmp(path, folder, folder_length) == 0 &&
         (path[folder_length] == '/' || path[folder_length] == '\0');
}
static int is_file_below(int file) {
  return counter && file >= 0 && file < MOST_FILES && below[file];
}

/* Whether a call fails; *late_signal is what it has to send itself when it is done. */
static int fails(int kind, int* late_signal) {
  *late_signal = 0;
  if (!(kind & watched)) return 0;
  const long number = atomic_fetch_add(counter, 1);
  const int hit = at >= 0 && (number == at || (from_then_on && number > at));
  if (!hit) return 0;
  if (signal_number && number == at) {
    if (after) {
      *late_signal = signal_number;
    } else {
      kill(getpid(), signal_number);
    }
    return 0;
  }
  if (!error_number) return 0;
  errno = error_number;
  return 1;
}

static void send_late(int number) {
  if (number) {
    const int kept = errno;
    kill(getpid(), number);
    errno = kept;
  }
}

#define REAL(type, name, ...)              \
  static type (*real)(__VA_ARGS__) = NULL; \
  if (!real) *(void**)&real = dlsym(RTLD_NEXT, name)

#define GUARD(ours, kind, failure) \
  int late = 0;                    \
  if ((ours) && fails(kind, &late)) return failure

static int opened(int file, int ours) {
  if (file >= 0 && file < MOST_FILES) below[file] = (unsigned char)ours;
  return file;
}

#define OPEN_BODY()                                                         \
  mode_t mode = 0;                                                          \
  if (flags & (O_CREAT | O_TMPFILE)) {                                      \
    va_list list;                                                           \
    va_start(list, flags);                                                  \
    mode = va_arg(list, mode_t);                                            \
    va_end(list);                                                           \
  }                                                                         \
  const int ours = is_below(path);                                          \
  GUARD(ours && (error_number != EROFS || (flags & (O_WRONLY | O_RDWR))) && \
            (error_number != ENOSPC || (flags & O_CREAT)),                  \
        OPEN, -1)

int open(const char* path, int flags, ...) {
  REAL(int, "open", const char*, int, ...);
  OPEN_BODY();
  const int file = opened(real(path, flags, mode), ours);
  send_late(late);
  return file;
}
int open64(const char* path, int flags, ...) {
  REAL(int, "open64", const char*, int, ...);
  OPEN_BODY();
  const int file = opened(real(path, flags, mode), ours);
  send_late(late);
  return file;
}
int openat(int at_folder, const char* path, int flags, ...) {
  REAL(int, "openat", int, const char*, int, ...);
  OPEN_BODY();
  const int file = opened(real(at_folder, path, flags, mode), ours);
  send_late(late);
  return file;
}
int openat64(int at_folder, const char* path, int flags, ...) {
  REAL(int, "openat64", int, const char*, int, ...);
  OPEN_BODY();
  const int file = opened(real(at_folder, path, flags, mode), ours);
  send_late(late);
  return file;
}

ssize_t write(int file, const void* data, size_t size) {
  REAL(ssize_t, "write", int, const void*, size_t);
  GUARD(is_file_below(file), WRITE, -1);
  /* What a full disk leaves: the first half. */
  const ssize_t done = real(file, data, late && size > 1 ? size / 2 : size);
  send_late(late);
  return done;
}
ssize_t writev(int file, const struct iovec* data, int count) {
  REAL(ssize_t, "writev", int, const struct iovec*, int);
  GUARD(is_file_below(file), WRITE, -1);
  const ssize_t done = real(file, data, count);
  send_late(late);
  return done;
}
ssize_t pwrite(int file, const void* data, size_t size, off_t offset) {
  REAL(ssize_t, "pwrite", int, const void*, size_t, off_t);
  GUARD(is_file_below(file), WRITE, -1);
  const ssize_t done = real(file, data, size, offset);
  send_late(late);
  return done;
}
ssize_t pwrite64(int file, const void* data, size_t size, off64_t offset) {
  REAL(ssize_t, "pwrite64", int, const void*, size_t, off64_t);
  GUARD(is_file_below(file), WRITE, -1);
  const ssize_t done = real(file, data, size, offset);
  send_late(late);
  return done;
}

#define OF_FILE(name, kind)               \
  int name(int file) {                    \
    REAL(int, #name, int);                \
    GUARD(is_file_below(file), kind, -1); \
    const int done = real(file);          \
    send_late(late);                      \
    return done;                          \
  }
OF_FILE(fsync, FSYNC)
OF_FILE(fdatasync, FSYNC)

/* The file is closed in any case, as Linux does; what was written late is lost. */
int close(int file) {
  REAL(int, "close", int);
  int late = 0;
  const int ours = is_file_below(file);
  const int failed = ours && fails(CLOSE, &late);
  const int kept = errno;
  if (ours) below[file] = 0;
  const int done = real(file);
  send_late(late);
  if (!failed) return done;
  errno = kept;
  return -1;
}

#define OF_PATHS(name)                                 \
  int name(const char* from, const char* to) {         \
    REAL(int, #name, const char*, const char*);        \
    GUARD(is_below(from) || is_below(to), RENAME, -1); \
    const int done = real(from, to);                   \
    send_late(late);                                   \
    return done;                                       \
  }
OF_PATHS(rename)
OF_PATHS(link)

int mkdir(const char* path, mode_t mode) {
  REAL(int, "mkdir", const char*, mode_t);
  GUARD(is_below(path), MKDIR, -1);
  const int done = real(path, mode);
  send_late(late);
  return done;
}
int unlink(const char* path) {
  REAL(int, "unlink", const char*);
  GUARD(is_below(path), UNLINK, -1);
  const int done = real(path);
  send_late(late);
  return done;
}
