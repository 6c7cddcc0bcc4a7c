#include "files.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail(const std::string& what, const fs::path& path) {
  throw std::system_error(errno, std::generic_category(), what + " " + path.string());
}

}  // namespace

File::File(const fs::path& path, int flags)
    : path_(path), number_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {
  if (number_ < 0) fail("cannot open", path);
}

File::~File() { ::close(number_); }

void File::write_at(std::int64_t offset, const void* data, std::size_t size) {
  const auto* from = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::pwrite(number_, from, size, offset);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail("cannot write", path_);
    from += written;
    offset += written;
    size -= static_cast<std::size_t>(written);
  }
}

void File::sync() {
  if (::fsync(number_) != 0) fail("cannot write to disk", path_);
}

Bytes read_file(const fs::path& path) {
  const File file(path, O_RDONLY);
  Bytes data;
  std::uint8_t part[65536];
  while (true) {
    const ssize_t count = ::read(file.number(), part, sizeof part);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("cannot read", path);
    if (count == 0) return data;
    data.insert(data.end(), part, part + count);
  }
}

void write_synced(const fs::path& path, const void* data, std::size_t size) {
  try {
    File file(path, O_WRONLY | O_CREAT | O_TRUNC);
    file.write_at(0, data, size);
    file.sync();
  } catch (const std::system_error&) {
    ::unlink(path.c_str());
    throw;
  }
}

void sync_folder(const fs::path& folder) { File(folder, O_RDONLY | O_DIRECTORY).sync(); }

void replace_text(const fs::path& path, const std::string& text) {
  const fs::path unfinished = path.string() + ".new";
  write_synced(unfinished, text.data(), text.size());
  fs::rename(unfinished, path);
  sync_folder(path.parent_path());
}
