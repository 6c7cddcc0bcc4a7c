/* Counts every allocation of a process. */
#ifndef DEAL_BENCH_ALLOCATIONS_H
#define DEAL_BENCH_ALLOCATIONS_H

#include <stdlib.h>

static _Atomic long allocations = 0;
#if defined(__GLIBC__)
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void* malloc(size_t size) {
  ++allocations;
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  ++allocations;
  return __libc_calloc(count, size);
}
void* realloc(void* pointer, size_t size) {
  ++allocations;
  return __libc_realloc(pointer, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  ++allocations;
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** pointer, size_t alignment, size_t size) {
  ++allocations;
  *pointer = __libc_memalign(alignment, size);
  return *pointer == NULL ? 12 : 0; /* ENOMEM */
}
#define COUNTS_ALLOCATIONS 1
#else
#define COUNTS_ALLOCATIONS 0
#endif

#endif
