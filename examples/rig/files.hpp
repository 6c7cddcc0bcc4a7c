// Files that are on disk when a call returns. Every function throws std::system_error.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

using Bytes = std::vector<std::uint8_t>;

// A file descriptor that closes itself.
class File {
 public:
  File(const std::filesystem::path& path, int flags);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  void write_at(std::int64_t offset, const void* data, std::size_t size);
  void sync();
  int number() const noexcept { return number_; }

 private:
  std::filesystem::path path_;
  int number_;
};

Bytes read_file(const std::filesystem::path& path);
// Writes a new file, or replaces what it holds; a file that cannot be written whole is removed.
void write_synced(const std::filesystem::path& path, const void* data, std::size_t size);
// Writes the entries of a folder to disk: what was created, renamed and removed in it.
void sync_folder(const std::filesystem::path& folder);
// A text under its name whole or not at all.
void replace_text(const std::filesystem::path& path, const std::string& text);
