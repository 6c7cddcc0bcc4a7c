/* Counts what a C test and the library in its process allocate. */
#ifndef DEAL_TESTS_ALLOCATIONS_H
#define DEAL_TESTS_ALLOCATIONS_H

#include <stddef.h>

/* Every allocation of the process, the library's included; sanitizers bring their own malloc. */
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
static _Atomic long allocations = 0;
void* __libc_malloc(size_t);
void* __libc_memalign(size_t, size_t);
void* malloc(size_t size) {
  ++allocations;
  return __libc_malloc(size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  ++allocations;
  return __libc_memalign(alignment, size);
}
#define COUNTS_ALLOCATIONS 1
#else
static long allocations = 0;
#define COUNTS_ALLOCATIONS 0
#endif

#endif
