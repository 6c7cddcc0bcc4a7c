// Pairing heaps (Fredman et al. 1986) of numbered items: any item can be taken out, in amortised
// O(log n), and items hold the links, so that a heap needs no memory of its own.
#pragma once

#include <stdint.h>

namespace deal {

struct HeapLinks {
  int32_t child, next, previous;  // previous: the sibling before, or the parent of a first child
};

// `links(i)` are the links of item i; `above(a, b)` says that a belongs above b. The root is -1 in
// an empty heap.
template <class Links, class Above>
class PairingHeap {
 public:
  PairingHeap(Links links, Above above) : links_(links), above_(above) {}

  int32_t inserted(int32_t root, int32_t item) {
    links_(item) = {-1, -1, -1};
    return root < 0 ? item : melded(root, item);
  }

  int32_t removed(int32_t root, int32_t item) {
    const int32_t below = merged(links_(item).child);
    if (item == root) return below;
    const int32_t previous = links_(item).previous, next = links_(item).next;
    if (links_(previous).child == item) {
      links_(previous).child = next;
    } else {
      links_(previous).next = next;
    }
    if (next >= 0) links_(next).previous = previous;
    return below < 0 ? root : melded(root, below);
  }

 private:
  int32_t melded(int32_t a, int32_t b) {
    if (above_(b, a)) {
      const int32_t kept = a;
      a = b;
      b = kept;
    }
    const int32_t first = links_(a).child;
    links_(b).next = first;
    links_(b).previous = a;
    if (first >= 0) links_(first).previous = b;
    links_(a).child = b;
    links_(a).next = links_(a).previous = -1;
    return a;
  }

  // Pairs siblings from the left, then joins the pairs from the right.
  int32_t merged(int32_t first) {
    int32_t pairs = -1;  // a stack, by `next`
    while (first >= 0) {
      int32_t one = first;
      const int32_t two = links_(one).next;
      first = two < 0 ? -1 : links_(two).next;
      links_(one).next = links_(one).previous = -1;
      if (two >= 0) {
        links_(two).next = links_(two).previous = -1;
        one = melded(one, two);
      }
      links_(one).next = pairs;
      pairs = one;
    }
    int32_t root = -1;
    while (pairs >= 0) {
      const int32_t one = pairs;
      pairs = links_(one).next;
      links_(one).next = links_(one).previous = -1;
      root = root < 0 ? one : melded(root, one);
    }
    return root;
  }

  Links links_;
  Above above_;
};

}  // namespace deal
