#include "journal.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <system_error>

namespace {

// magic, checksum, number, kind, camera, id, time, bytes, score, sequence, signed, signature
constexpr std::size_t kBytes = 4 + 4 + 8 + 4 + 4 + 6 * 8 + DEAL_THUMBNAIL_BYTES;
constexpr std::size_t kChecked = 8;  // bytes before what the checksum covers
constexpr char kMagic[] = {'D', 'E', 'A', 'L'};
static_assert(kBytes == 264);
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are little-endian");

std::uint32_t crc32(const std::uint8_t* data, std::size_t size) {  // of IEEE 802.3, as zlib has it
  std::uint32_t crc = ~0u;
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

Bytes encoded(const Record& record, std::uint64_t number) {
  const deal_stream_frame& f = record.frame;
  Bytes bytes;
  const auto put = [&](const auto& value) {
    const auto* raw = reinterpret_cast<const std::uint8_t*>(&value);
    bytes.insert(bytes.end(), raw, raw + sizeof value);
  };
  put(kMagic), put(std::uint32_t{0}), put(number), put(record.kind), put(f.camera), put(f.id);
  put(f.timestamp_ns), put(f.bytes), put(f.score), put(f.sequence);
  put(std::uint64_t{record.is_signed}), put(record.signature);
  const std::uint32_t crc = crc32(bytes.data() + kChecked, bytes.size() - kChecked);
  std::memcpy(bytes.data() + sizeof kMagic, &crc, sizeof crc);
  return bytes;
}

// The record, if it is whole and has this number.
std::optional<Record> decoded(const std::uint8_t* data, std::uint64_t expected) {
  const std::uint8_t* next = data;
  const auto get = [&](auto& value) {
    std::memcpy(&value, next, sizeof value);
    next += sizeof value;
  };
  char magic[sizeof kMagic];
  std::uint32_t crc;
  std::uint64_t number, is_signed;
  Record record;
  deal_stream_frame& f = record.frame;
  get(magic), get(crc), get(number), get(record.kind), get(f.camera), get(f.id);
  get(f.timestamp_ns), get(f.bytes), get(f.score), get(f.sequence);
  get(is_signed), get(record.signature);
  if (std::memcmp(magic, kMagic, sizeof magic) != 0 || number != expected ||
      crc != crc32(data + kChecked, kBytes - kChecked)) {
    return std::nullopt;
  }
  f.name_hash = f.id;
  record.is_signed = is_signed != 0;
  return record;
}

}  // namespace

Journal::Journal(const std::filesystem::path& path) : path_(path), file_(path, O_RDWR | O_CREAT) {
  sync_folder(path.parent_path());
  const Bytes data = read_file(path);
  for (std::size_t at = 0; at + kBytes <= data.size(); at += kBytes) {
    const std::optional<Record> record = decoded(data.data() + at, found_.size());
    if (!record) break;
    found_.push_back(*record);
  }
  if (found_.empty() && data.size() > kBytes) {  // the first record is synced before any other
    throw std::runtime_error(path.string() +
                             " is damaged at its beginning, so what was recorded cannot be told: "
                             "choose another folder; nothing here was changed");
  }
  count_ = static_cast<std::int64_t>(found_.size());
}

void Journal::begin_anew() {
  found_.clear();
  count_ = 0;
  cut();
}

void Journal::cut() {
  if (::ftruncate(file_.number(), count_ * static_cast<std::int64_t>(kBytes)) != 0) {
    throw std::system_error(errno, std::generic_category(), "cannot shorten " + path_.string());
  }
}

void Journal::append(const Record& record) {
  waiting_.push_back(encoded(record, static_cast<std::uint64_t>(count_) + waiting_.size()));
}

void Journal::write() {
  while (!waiting_.empty()) {
    file_.write_at(count_ * static_cast<std::int64_t>(kBytes), waiting_.front().data(), kBytes);
    ++count_;
    waiting_.erase(waiting_.begin());
  }
}

void Journal::sync() {
  write();
  file_.sync();
}
