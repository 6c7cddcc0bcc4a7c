// Files of a model: mapped into memory, and where weights beside it may lie.
#pragma once

#include <stddef.h>

#include <string>
#include <string_view>
#include <vector>

namespace deal {

// A regular file, mapped for reading; fails with the reason.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

bool file_exists(const std::string& path);

// MODEL.json beside MODEL.onnx.
std::string side_car_of(const std::string& model);

// Refuses files of weights outside the model's folder: deal/model/external.py has the reasons.
void check_weight_files(const std::string& model, const std::vector<std::string>& names);

}  // namespace deal
