#include "model/files.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <new>

#include "abi/failure.h"

namespace deal {
namespace {

// By statx: `stat` has a newer version in later C libraries, and the library would need those.
struct FileFacts {
  struct statx about = {};
  bool found;

  FileFacts(int folder, const char* path, int flags)
      : found(statx(folder, path, flags, STATX_TYPE | STATX_SIZE | STATX_NLINK, &about) == 0) {}
  explicit FileFacts(const std::string& path) : FileFacts(AT_FDCWD, path.c_str(), 0) {}

  bool is(uint16_t type) const { return found && (about.stx_mode & S_IFMT) == type; }
};

struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) close(number);
  }
};

// The name without links and dots; empty if there is none, with the reason in errno.
std::string resolved(const std::string& path) {
  char found[PATH_MAX];
  return realpath(path.c_str(), found) == nullptr ? std::string() : std::string(found);
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == path.npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

bool is_below(const std::string& path, const std::string& folder) {
  if (folder.empty()) return false;
  const std::string prefix = folder == "/" ? folder : folder + "/";
  return path.compare(0, prefix.size(), prefix) == 0;
}

// The folder in a Hugging Face cache to which the links of a snapshot point; empty if there is
// none.
std::string blobs_of(const std::string& model) {
  std::string folder = model;
  if (folder.empty() || folder[0] != '/') {
    char here[PATH_MAX];
    if (getcwd(here, sizeof here) == nullptr) return "";
    folder = std::string(here) + "/" + folder;
  }
  while (folder.size() > 1) {
    folder = folder_of(folder);
    if (folder.substr(folder.rfind('/') + 1) != "snapshots") continue;
    const std::string blobs = folder_of(folder) + "/blobs";
    const FileFacts itself(AT_FDCWD, blobs.c_str(), AT_SYMLINK_NOFOLLOW);
    return itself.is(S_IFDIR) ? resolved(blobs) : "";
  }
  return "";
}

void check_weight_file(const std::string& model, const std::string& name) {
  const auto refuse = [&](const char* why) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "weights lie in '%.150s', %s", name.c_str(), why);
  };
  if (name.empty() || name.find('\0') != name.npos ||
      name.find("_ORT_MEM_ADDR_") != name.npos) {  // which ONNX Runtime reads as an address
    refuse("which is not a file name: export the model again");
  }
  const bool has_drive =
      name.size() > 1 && name[1] == ':' && isalpha(static_cast<uint8_t>(name[0]));
  if (name[0] == '/' || name[0] == '\\' || has_drive) {
    refuse("outside the model's folder: put the weights beside the model");
  }
  const std::string folder = resolved(folder_of(model));
  const std::string target = resolved(folder + "/" + name);
  if (target.empty() && errno == ENOENT) refuse("which is missing: copy it beside the model");
  if (target.empty()) refuse(strerror(errno));
  if (!is_below(target, folder) && !is_below(target, blobs_of(model))) {
    refuse("outside the model's folder: put the weights beside the model");
  }
  const FileFacts facts(target);
  if (!facts.is(S_IFREG)) refuse("which is not a regular file: copy it beside the model");
  if (facts.about.stx_nlink > 1) {
    refuse("a file with several names (hard links), which may be in any folder: copy it");
  }
}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  // Without O_NONBLOCK opening a pipe might never end.
  const Descriptor file = {open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
  if (file.number < 0) fail(DEAL_ERROR_INVALID_ARGUMENT, "%s", strerror(errno));
  const FileFacts facts(file.number, "", AT_EMPTY_PATH);
  if (!facts.found) fail(DEAL_ERROR_INVALID_ARGUMENT, "%s", strerror(errno));
  if (!facts.is(S_IFREG))
    fail(DEAL_ERROR_INVALID_ARGUMENT, "not a regular file: give an ONNX file");
  size_ = facts.about.stx_size;
  if (size_ == 0) return;
  data_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.number, 0);
  if (data_ != MAP_FAILED) return;
  if (errno == ENOMEM) throw std::bad_alloc();
  fail(DEAL_ERROR_INVALID_ARGUMENT, "cannot be mapped: %s", strerror(errno));
}

MappedFile::~MappedFile() {
  if (size_ != 0) munmap(data_, size_);
}

bool file_exists(const std::string& path) { return FileFacts(path).found; }

std::string side_car_of(const std::string& model) {
  const size_t slash = model.rfind('/');
  const size_t name = slash == model.npos ? 0 : slash + 1;
  const size_t dot = model.rfind('.');
  const bool has_suffix = dot != model.npos && dot > name && dot + 1 < model.size();
  return (has_suffix ? model.substr(0, dot) : model) + ".json";
}

void check_weight_files(const std::string& model, const std::vector<std::string>& names) {
  for (const std::string& name : names) check_weight_file(model, name);
}

}  // namespace deal
