/* Cases of deal_model_read: ONNX files that are written field by field, some of them wrongly. */
#ifndef DEAL_TESTS_FUZZ_MODELS_H
#define DEAL_TESTS_FUZZ_MODELS_H

#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "deal_model.h"
#include "fuzz.h"

enum { MOST_BYTES = 8192 };
typedef struct bytes {
  size_t size;
  char data[MOST_BYTES];
} bytes;

static int64_t fault_rarity; /* of 1 in so many fields something is wrong */

static void put(bytes* to, const void* from, size_t size) {
  if (size > MOST_BYTES - to->size) size = MOST_BYTES - to->size;
  memcpy(to->data + to->size, from, size);
  to->size += size;
}

static void put_varint(bytes* to, uint64_t value) {
  const int longer = one_in(fault_rarity) ? (int)below(10) : 0;
  if (one_in(fault_rarity)) value = (uint64_t)odd_number();
  for (int i = 0; value > 127 || i < longer; ++i, value >>= 7) {
    put(to, &(char){(char)(value | 0x80)}, 1);
  }
  put(to, &(char){(char)(value & 0x7f)}, 1);
}

static void put_tag(bytes* to, uint64_t number, int wire) {
  if (one_in(fault_rarity)) wire = (int)below(8);
  if (one_in(fault_rarity)) number = (uint64_t)below(30);
  put_varint(to, number << 3 | (uint64_t)wire);
}

static void put_number(bytes* to, uint64_t number, uint64_t value) {
  put_tag(to, number, 0);
  put_varint(to, value);
}

static void put_message(bytes* to, uint64_t number, const void* data, size_t size) {
  const int times = one_in(fault_rarity) ? (int)below(3) : 1;
  for (int i = 0; i < times; ++i) {
    put_tag(to, number, 2);
    put_varint(to, one_in(fault_rarity) ? size + (size_t)below(40) - 20 : size);
    put(to, data, size);
  }
}

static void put_text(bytes* to, uint64_t number, const char* text) {
  static const char* const odd[] = {"", "\xff\xfe", "../x", "deal", "location", "difficulty"};
  if (one_in(fault_rarity)) text = odd[below((int64_t)(sizeof odd / sizeof *odd))];
  put_message(to, number, text, strlen(text));
}

static void put_entry(bytes* to, uint64_t number, const char* key, const char* value) {
  bytes entry = {0};
  put_text(&entry, 1, key);
  put_text(&entry, 2, value);
  put_message(to, number, entry.data, entry.size);
}

/* A value of the graph: sizes below 0 are names. */
static void put_value(bytes* to, uint64_t number, const char* name, int element,
                      const int64_t* shape, int rank) {
  bytes dims = {0}, tensor = {0}, type = {0}, value = {0};
  for (int i = 0; i < rank; ++i) {
    bytes dim = {0};
    if (shape[i] < 0) {
      put_text(&dim, 2, "N");
    } else {
      put_number(&dim, 1, one_in(fault_rarity) ? (uint64_t)odd_number() : (uint64_t)shape[i]);
    }
    put_message(&dims, 1, dim.data, dim.size);
  }
  put_number(&tensor, 1, (uint64_t)element);
  if (rank > 0) put_message(&tensor, 2, dims.data, dims.size);
  put_message(&type, 1, tensor.data, tensor.size);
  put_text(&value, 1, name);
  put_message(&value, 2, type.data, type.size);
  put_message(to, number, value.data, value.size);
}

/* Keys of a contract and values, of which the first are right. */
typedef struct key {
  const char* name;
  const char* values[7];
} key;
static const key keys[] = {
    {"format", {"1", "1.0", "2", "true"}},
    {"palette", {"null", "[[0,1,2],[3,4,5],[6,7,8]]", "[[0,1]]", "[[256,0,0]]"}},
    {"ignore_index", {"null", "255", "-2147483649", "1e3"}},
    {"input_format", {"\"rgb8\"", "\"bgr8\"", "\"float-rgb\"", "7"}},
    {"input_layout", {"\"nhwc\"", "\"nchw\"", "\"\\u006ehwc\""}},
    {"output_layout", {"\"nchw\"", "\"nhwc\"", "null"}},
    {"input_size", {"null", "[64,96]", "[65536,1]", "[9e99,1]", "[1,2,3]"}},
    {"size_multiple", {"1", "32", "0", "4097"}},
    {"batch", {"null", "1", "0", "99999999999999999999999999999999999999999"}},
    {"resize", {"\"stretch\"", "\"letterbox\"", "\"crop\"", "\"none\"", "\"\\ud800\""}},
    {"pad_value", {"114", "[1,2,3]", "[1,2]", "-1"}},
    {"pad_position", {"\"center\"", "\"top-left\"", "\"\""}},
    {"interpolation", {"\"nearest\"", "\"bicubic-antialias\"", "{}"}},
    {"mean", {"null", "[0.5,0.4,0.3]", "[123,1,1]", "[1e-320,0,0]"}},
    {"std", {"null", "[0.2,0.2,0.2]", "[0,1,1]"}},
    {"align_corners", {"true", "false", "null"}},
    {"output_kind", {"\"logits\"", "\"probabilities\"", "\"scores\""}},
    {"activation", {"\"softmax\"", "\"sigmoid\"", "[]"}},
    {"difficulty_head",
     {"null", "{\"gamma\":0.7,\"weight\":[1,2,3],\"bias\":-1e-3,\"grid\":[6,8]}",
      "{\"gamma\":1,\"weight\":[1,2,3],\"bias\":0,\"grid\":null,\"uncertainty_weight\":[0,0,1]}",
      "{\"gamma\":1e300,\"weight\":[1,2,3],\"bias\":0,\"grid\":null}",
      "{\"gamma\":1,\"weight\":[],\"bias\":0,\"grid\":[1e9,1]}", "{\"gamma\":1}"}},
    {"dropout",
     {"[]", "[{\"input\":\"mask\",\"channels\":3,\"rate\":0.5}]", "[{\"input\":\"mask\"}]"}},
    {"precision", {"null", "\"int8\"", "\"int4\""}},
    {"provenance",
     {"{}", "{\"conversion\":{\"target\":\"gpu\"}}", "{\"a\":[[[{\"b\":1,\"b\":2}]]]}",
      "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]}"}},
    {"output", {"\"logits\"", "\"other\"", "\"\"", "\"a\\u0000b\""}},
    {"classes", {"3", "2", "[\"a\",\"\\u00e4\",\"\\ud83d\\ude00\"]", "0", "257", "[1]"}},
};

static void random_contract(bytes* to) {
  static const char* const classes[] = {"\"classes\":3", "\"classes\":[\"a\",\"b\",\"c\"]", ""};
  const char* start = one_in(20) ? "[" : "{";
  put(to, start, 1);
  const char* first = classes[one_in(30) ? 2 : below(2)];
  put(to, first, strlen(first));
  const int64_t more = below(5);
  for (int64_t i = 0; i < more; ++i) {
    const key* k = keys + below((int64_t)(sizeof keys / sizeof *keys) - (one_in(20) ? 0 : 1));
    int known = 0;
    while (known < 7 && k->values[known] != NULL) ++known;
    const char* value = k->values[one_in(4) ? below(known) : below(known < 2 ? known : 2)];
    char text[512];
    const int size = snprintf(text, sizeof text, ",%s\"%s\"%s:%s", one_in(9) ? "\n " : "", k->name,
                              one_in(9) ? "\t" : "", value);
    put(to, text, (size_t)size);
  }
  put(to, "}", 1);
  if (!one_in(15)) return;
  static const char odd[] = "\"\\{}[],:0123456789eE+-.ntu \t\x01\xff";
  const int64_t changes = 1 + below(4);
  for (int64_t i = 0; i < changes && to->size > 0; ++i) {
    to->data[below((int64_t)to->size)] = odd[below((int64_t)sizeof odd)];
  }
}

static void random_model(bytes* to) {
  static const int64_t image[] = {-1, -1, -1, 3}, sized[] = {2, 3, 64, 96}, mask[] = {1, 3, 1, 1};
  static const int64_t logits[] = {-1, 3, -1, -1}, last[] = {-1, -1, -1, 3}, list[] = {-1, 9, 4, 4};
  static const int inputs[] = {2, 1, 10, 11, 3}, outputs[] = {1, 10, 16, 11, 7};
  bytes graph = {0}, contract = {0};
  const int element = inputs[one_in(3) ? below(5) : 0];
  put_value(&graph, 11, "image", element, one_in(6) ? sized : image, one_in(40) ? 3 : 4);
  if (one_in(6)) put_value(&graph, 11, "mask", 1, mask, 4);
  put_value(&graph, 12, "logits", outputs[one_in(4) ? below(5) : 0], one_in(5) ? last : logits,
            one_in(20) ? 0 : 4);
  if (one_in(6)) put_value(&graph, 12, "difficulty", 1, logits, 4);
  if (one_in(6)) put_value(&graph, 12, "other", 1, one_in(3) ? list : logits, 3 + (int)below(2));
  if (one_in(3)) { /* weights, some of them in a file or in a node */
    bytes tensor = {0}, node = {0}, attribute = {0};
    put_text(&tensor, 8, one_in(6) ? "image" : "w");
    if (one_in(4)) put_entry(&tensor, 13, "location", one_in(2) ? "w.bin" : "/dev/null");
    if (one_in(2)) {
      put_message(&graph, 5, tensor.data, tensor.size);
    } else {
      put_message(&attribute, 5, tensor.data, tensor.size);
      put_message(&node, 5, attribute.data, attribute.size);
      put_message(&graph, 1, node.data, node.size);
    }
  }
  random_contract(&contract);
  contract.data[contract.size < MOST_BYTES ? contract.size : MOST_BYTES - 1] = '\0';
  put_number(to, 1, 8);
  put_message(to, 7, graph.data, graph.size);
  put_entry(to, 14, "deal", contract.data);
  if (one_in(9)) put_entry(to, 14, "deal", "{\"classes\":3}");
  if (one_in(12) && to->size > 0) to->size = (size_t)below((int64_t)to->size);
  if (one_in(12) && to->size > 0) to->data[below((int64_t)to->size)] = (char)draw();
}

/* Reads every byte that the model points to. */
static void check_model(const deal_model* m, const char* low, const char* high) {
  uint64_t sum = 0;
#define INSIDE(pointer) \
  check((const char*)(pointer) >= low && (const char*)(pointer) < high, "it lies in the block")
#define TEXT(text)       \
  do {                   \
    INSIDE(text);        \
    sum += strlen(text); \
  } while (0)
  TEXT(m->input_name);
  TEXT(m->output_name);
  if (m->precision != NULL) TEXT(m->precision);
  if (m->difficulty_name != NULL) TEXT(m->difficulty_name);
  if (m->embedding_name != NULL) TEXT(m->embedding_name);
  check(m->classes >= 2 && m->classes <= DEAL_MAX_CLASSES, "2 to 256 classes");
  for (int64_t i = 0; i < m->classes; ++i) TEXT(m->class_name[i]);
  for (int64_t i = 0; i < m->weight_files; ++i) TEXT(m->weight_file[i]);
  for (int64_t i = 0; i < m->dropouts; ++i) TEXT(m->dropout[i].name);
  for (int64_t i = 0; i < m->session_entries; ++i) {
    TEXT(m->session_entry[i].key);
    TEXT(m->session_entry[i].value);
  }
  for (int64_t i = 0; m->palette != NULL && i < 3 * m->classes; ++i) sum += m->palette[i];
  if (m->head != NULL) {
    INSIDE(m->head);
    check(m->head->channels == m->classes, "a weight per class");
    check((uintptr_t)m->head % sizeof(void*) == 0, "the head is aligned");
    for (int64_t c = 0; c < m->classes; ++c) {
      check(fabsf(m->head->weight[c]) <= 1e15f, "weights that scoring takes");
      if (m->head->uncertainty_weight != NULL) sum += m->head->uncertainty_weight[c] != 0.0f;
    }
  }
  check(sum > 0, "texts");
#undef INSIDE
#undef TEXT
}

static void model_case(void) {
  static int file = -1;
  static char path[32];
  if (file < 0) {
    file = memfd_create("model", 0);
    check(file >= 0, "a file in memory");
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  }
  static bytes content;
  content.size = 0;
  fault_rarity = one_in(2) ? INT32_MAX : 30 + below(300);
  random_model(&content);
  check(ftruncate(file, 0) == 0 &&
            pwrite(file, content.data, content.size, 0) == (ssize_t)content.size,
        "it is written");
  deal_model model;
  DEAL_INIT(model);
  deal_status status = deal_model_read(one_in(500) ? NULL : path, NULL, 0, &model);
  count(status);
  if (status != DEAL_OK) return;
  const int64_t size = model.block_bytes - (one_in(20) ? 1 + below(model.block_bytes) : 0);
  const bool whole = size == model.block_bytes;
  const int64_t off = below(8);
  char* memory = (char*)block((size_t)(size + off)) + off;
  if (one_in(30)) model.struct_size = (size_t)below((int64_t)sizeof model + 40);
  const size_t told = model.struct_size;
  status = deal_model_read(path, memory, size, &model);
  count(status);
  check(whole || status != DEAL_OK, "a block that is too small is refused");
  if (status == DEAL_OK && told >= sizeof model) check_model(&model, memory, memory + size);
}

#endif
