#include "model/safetensors.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "test/check.h"
#include "test/checkpoint_files.h"

using namespace elasticlm;
using namespace elasticlm::test;

namespace {

struct BrokenHeader {
  const char* name;
  std::string header;
  uint64_t data_bytes;
  const char* wording;
};

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

std::string f32_pair(const std::string& offsets_a, const std::string& offsets_b) {
  return "{\"a\":" + entry("F32", "[2]", offsets_a) + ",\"b\":" + entry("F32", "[2]", offsets_b) + "}";
}

std::string ones(int count) {
  std::string text = "1";
  for (int i = 1; i < count; ++i) text += ",1";
  return text;
}

SafetensorsHeader parse(const std::string& header, uint64_t data_bytes) {
  return parse_safetensors_header(header.data(), header.size(), data_bytes, "file");
}

int open_descriptors() {
  int count = 0;
  DIR* const folder = ::opendir("/proc/self/fd");
  CHECK(folder != nullptr, "no /proc/self/fd");
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

size_t mappings_of(const std::string& path) {
  const std::string maps = read_file("/proc/self/maps");
  size_t count = 0;
  for (size_t at = maps.find(path); at != std::string::npos; at = maps.find(path, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("a header that breaks the grammar is refused with its position") {
  const std::string good = entry("F32", "[2]", "[0,8]");
  const std::vector<BrokenHeader> broken = {
      {"empty", "", 0, "received nothing"},
      {"array", "[]", 0, "beginning with \"{\""},
      {"leading space", " {}", 0, "beginning with \"{\""},
      {"unclosed", "{", 0, "the end of the header"},
      {"unclosed entry", "{\"a\":" + good, 8, "received the end of the header"},
      {"trailing text", "{}x", 0, "nothing but spaces after the object"},
      {"trailing newline", "{}\n", 0, "nothing but spaces after the object"},
      {"second object", "{}{}", 0, "at byte 2"},
      {"trailing comma", "{\"a\":" + good + ",}", 8, "a string"},
      {"no colon", "{\"a\"" + good + "}", 8, "a colon"},
      {"no comma", "{\"a\":" + good + "\"b\":" + good + "}", 8, "a comma or the end of the object"},
      {"nested arrays", "{\"a\":" + std::string(100000, '[') + "}", 0, "an object"},
      {"deep shape", "{\"a\":" + entry("F32", "[[2]]", "[0,8]") + "}", 8, "a whole number"},
      {"negative size", "{\"a\":" + entry("F32", "[-2]", "[0,8]") + "}", 8, "a whole number"},
      {"fraction", "{\"a\":" + entry("F32", "[2.0]", "[0,8]") + "}", 8, "a whole number"},
      {"exponent", "{\"a\":" + entry("F32", "[2e0]", "[0,8]") + "}", 8, "a whole number"},
      {"leading zero", "{\"a\":" + entry("F32", "[02]", "[0,8]") + "}", 8, "a whole number"},
      {"two to the 63", "{\"a\":" + entry("F32", "[9223372036854775808]", "[0,8]") + "}", 8,
       "a whole number"},
      {"size as a string", "{\"a\":" + entry("F32", "[\"2\"]", "[0,8]") + "}", 8, "a whole number"},
      {"65 dimensions", "{\"a\":" + entry("F32", "[" + ones(65) + "]", "[0,4]") + "}", 4,
       "at most 64 dimensions"},
      {"one offset", "{\"a\":" + entry("F32", "[2]", "[0]") + "}", 8, "two offsets"},
      {"three offsets", "{\"a\":" + entry("F32", "[2]", "[0,8,8]") + "}", 8, "two offsets"},
      {"no dtype", R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8, "received no dtype"},
      {"no shape", R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", 8, "received no shape"},
      {"no offsets", R"({"a":{"dtype":"F32","shape":[2]}})", 8, "received no data_offsets"},
      {"unknown field", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"scale":1}})", 8,
       "the field \"scale\""},
      {"two dtypes", R"({"a":{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8]}})", 8,
       "one dtype"},
      {"two tensors of a name", "{\"a\":" + good + ",\"a\":" + good + "}", 8, "received two entries"},
      {"one name spelled twice", "{\"a\":" + good + ",\"\\u0061\":" + good + "}", 8, "received two entries"},
      {"metadata number", R"({"__metadata__":{"a":1}})", 0, "a string"},
      {"metadata list", R"({"__metadata__":[]})", 0, "an object"},
      {"metadata null", R"({"__metadata__":null})", 0, "an object"},
      {"two metadata", R"({"__metadata__":{},"__metadata__":{}})", 0, "__metadata__"},
      {"two metadata values", R"({"__metadata__":{"k":"1","k":"2"}})", 0, "one value for the key \"k\""},
      {"NUL in a string", std::string("{\"a\0b\":1}", 9), 0, "no control character"},
      {"unknown escape", R"({"\x":1})", 0, "an escape sequence"},
      {"short \\u", R"({"\u12":1})", 0, "four hexadecimal digits"},
      {"lone high surrogate", R"({"\ud800":1})", 0, "a low surrogate after a high one"},
      {"two high surrogates", R"({"\ud800\ud800":1})", 0, "a low surrogate after a high one"},
      {"lone low surrogate", R"({"\udc00":1})", 0, "no low surrogate"},
      {"overlong UTF-8", "{\"\xc0\xaf\":1}", 0, "well-formed UTF-8"},
      {"overlong three bytes", "{\"\xe0\x80\x80\":1}", 0, "well-formed UTF-8"},
      {"UTF-8 surrogate", "{\"\xed\xa0\x80\":1}", 0, "well-formed UTF-8"},
      {"past U+10FFFF", "{\"\xf4\x90\x80\x80\":1}", 0, "well-formed UTF-8"},
      {"lone continuation", "{\"\x80\":1}", 0, "well-formed UTF-8"},
      {"cut UTF-8", "{\"\xe2\x82", 0, "well-formed UTF-8"},
  };
  for (const BrokenHeader& one : broken) {
    check_throws(one.name, ErrorCode::kCheckpointInvalid, one.wording,
                 [&] { parse(one.header, one.data_bytes); });
  }
}

TEST_CASE("an entry that disagrees with the file is refused by name") {
  const std::vector<BrokenHeader> broken = {
      {"unknown dtype", "{\"a\":" + entry("F33", "[2]", "[0,8]") + "}", 8,
       "a dtype of the safetensors format"},
      {"begin after end", f32_pair("[8,0]", "[8,16]"), 16, "tensor \"a\" of file, received bytes [8, 0)"},
      {"end past the data", f32_pair("[0,8]", "[8,16]"), 15, "end <= 15"},
      {"end far past the data", f32_pair("[0,8]", "[8,9223372036854775807]"), 16, "end <= 16"},
      {"shape larger than its bytes", "{\"a\":" + entry("F32", "[3]", "[0,8]") + "}", 8,
       "12 bytes for F32 [3]"},
      {"shape smaller than its bytes", "{\"a\":" + entry("F16", "[3]", "[0,8]") + "}", 8,
       "6 bytes for F16 [3]"},
      {"product overflows", "{\"a\":" + entry("F32", "[4294967296,4294967296]", "[0,0]") + "}", 0,
       "below 2^61"},
      {"bits overflow", "{\"a\":" + entry("F64", "[4611686018427387904]", "[0,0]") + "}", 0, "below 2^61"},
      {"half a byte", "{\"a\":" + entry("F4", "[3]", "[0,2]") + "}", 2, "a whole number of bytes"},
      {"overlap", f32_pair("[0,8]", "[4,12]"), 12, "the end of tensor \"a\""},
      {"same bytes twice", f32_pair("[0,8]", "[0,8]"), 8, "which overlaps it"},
      {"hole", f32_pair("[0,8]", "[12,20]"), 20, "which leaves a hole"},
      {"hole at the start", f32_pair("[4,12]", "[12,20]"), 20, "the start of the data"},
      {"bytes at the end", f32_pair("[0,8]", "[8,16]"), 17, "up to the end of tensor \"b\""},
      {"data without tensors", "{}", 1, "up to the end of no tensor"},
      {"empty tensor in a tensor",
       "{\"a\":" + entry("F32", "[2]", "[0,8]") + ",\"b\":" + entry("F32", "[0]", "[4,4]") + "}", 8,
       "overlaps"},
  };
  for (const BrokenHeader& one : broken) {
    check_throws(one.name, ErrorCode::kCheckpointInvalid, one.wording,
                 [&] { parse(one.header, one.data_bytes); });
  }
}

TEST_CASE("everything the format allows is read") {
  CHECK(parse("{}", 0).entries.empty(), "an empty header");
  CHECK(parse("{}   ", 0).entries.empty(), "padding");
  CHECK(
      parse("{\"a\":" + entry("F32", "[" + ones(64) + "]", "[0,4]") + "}", 4).entries.at("a").shape.size() ==
          64,
      "64 dimensions");

  const SafetensorsHeader spaced =
      parse("{ \"b\" :\t{\"data_offsets\":[ 4 , 4 ],\r\n\"shape\":[0,7],\"dtype\":\"I64\"} , \"a\":" +
                entry("F32", "[]", "[0,4]") + "}",
            4);
  CHECK(spaced.entries.at("a").shape.empty() && spaced.entries.at("a").end == 4, "a scalar");
  CHECK(spaced.entries.at("b").shape == (std::vector<int64_t>{0, 7}),
        "an empty tensor behind it in the file");

  const SafetensorsHeader escaped =
      parse(R"({"__metadata__":{"k\n":"\u0000\u00e9\u20ac\ud83d\ude00\/"},"\"":)" +
                entry("F4", "[2,2]", "[0,2]") + "}",
            2);
  CHECK(escaped.metadata.at("k\n") == std::string("\0\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80/", 11),
        "escapes in metadata");
  CHECK(escaped.entries.count("\"") == 1, "an escaped name");

  std::string all = "{";
  uint64_t end = 0;
  const std::vector<std::pair<std::string, uint64_t>> dtypes = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1},
      {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},     {"U32", 4},
      {"F32", 4},  {"F64", 8}, {"I64", 8}, {"U64", 8}};
  for (const auto& [dtype, bytes] : dtypes) {
    const std::string offsets = "[" + std::to_string(end) + "," + std::to_string(end + 3 * bytes) + "]";
    all += (end == 0 ? "\"" : ",\"") + dtype + "\":" + entry(dtype, "[3]", offsets);
    end += 3 * bytes;
  }
  CHECK(parse(all + "}", end).entries.size() == dtypes.size(), "every dtype at an unaligned offset");

  const std::string huge_name(1 << 20, 'n');
  CHECK(
      parse("{\"" + huge_name + "\":" + entry("F32", "[2]", "[0,8]") + "}", 8).entries.count(huge_name) == 1,
      "a name of a megabyte");
}

TEST_CASE("hostile names are escaped and cut short in messages") {
  const std::string name = "\\u0000" + std::string(1 << 20, 'n');
  try {
    parse("{\"" + name + "\":" + entry("F32", "[3]", "[0,8]") + "}", 8);
  } catch (const Error& error) {
    const std::string message = error.what();
    CHECK(message.size() < 400, "a message of " + std::to_string(message.size()) + " bytes");
    CHECK(message.find("\\x00nnn") != std::string::npos, message);
    return;
  }
  CHECK(false, "nothing was thrown");
}

TEST_CASE("a broken file is refused with its path") {
  const TemporaryFolder folder;
  struct BrokenFile {
    const char* name;
    std::string bytes;
    const char* wording;
  };
  const std::string valid = file_with_header("{\"a\":" + entry("F32", "[2]", "[0,8]") + "}", "12345678");
  const std::vector<BrokenFile> broken = {
      {"empty", "", "received an empty file"},
      {"seven-bytes", "1234567", "received a file of 7 bytes"},
      {"length-only", std::string("\x01\0\0\0\0\0\0\0", 8), "at most the 0 bytes that follow it"},
      {"length-past-the-end", std::string("\xff\0\0\0\0\0\0\0{}", 10), "at most the 2 bytes that follow it"},
      {"length-of-2-64-minus-1", std::string(8, '\xff') + "{}", "at most 100000000 bytes"},
      {"text", "this is not a safetensors file at all", "at most 100000000 bytes"},
      {"cut-short", valid.substr(0, valid.size() - 1), "end <= 7"},
      {"one-byte-more", valid + "x", "9 bytes, all belonging to tensors"},
  };
  for (const BrokenFile& one : broken) {
    const std::string path = folder.path(one.name);
    write_file(path, one.bytes);
    check_throws(one.name, ErrorCode::kCheckpointInvalid, one.wording, [&] { SafetensorsFile{path}; });
    check_throws(one.name, ErrorCode::kCheckpointInvalid, path, [&] { SafetensorsFile{path}; });
  }
}

TEST_CASE("a path that cannot be read gives a coded error at once") {
  const TemporaryFolder folder;
  const std::string pipe = folder.path("pipe");
  CHECK(::mkfifo(pipe.c_str(), 0600) == 0, "mkfifo");
  const std::string loop = folder.path("loop");
  CHECK(::symlink("loop", loop.c_str()) == 0, "symlink");
  const std::string file = folder.path("file");
  write_file(file, "x");
  const std::string too_long = folder.path(std::string(5000, 'n'));

  const auto open = [](const std::string& path) { return [path] { SafetensorsFile{path}; }; };
  check_throws("missing", ErrorCode::kFileNotFound, "No such file", open(folder.path("missing")));
  check_throws("under a file", ErrorCode::kFileNotFound, "Not a directory", open(file + "/model"));
  check_throws("NUL", ErrorCode::kFileNotFound, "NUL", open(file + std::string("\0x", 2)));
  check_throws("empty path", ErrorCode::kFileNotFound, "No such file", open(""));
  check_throws("folder", ErrorCode::kFileUnreadable, "a directory", open(folder.path(".")));
  check_throws("pipe", ErrorCode::kFileUnreadable, "a pipe", open(pipe));
  check_throws("device", ErrorCode::kFileUnreadable, "a device", open("/dev/null"));
  check_throws("link to itself", ErrorCode::kFileUnreadable, loop, open(loop));
  check_throws("name too long", ErrorCode::kFileUnreadable, "too long", open(too_long));
}

TEST_CASE("a sparse file of many gigabytes is judged by its header alone") {
  const TemporaryFolder folder;
  const std::string path = folder.path("sparse");
  const uint64_t data_bytes = uint64_t{1} << 34;
  const std::string end = std::to_string(data_bytes);
  write_file(path, file_with_header("{\"a\":" + entry("U8", "[" + end + "]", "[0," + end + "]") + "}", ""));
  CHECK(::truncate(path.c_str(), static_cast<off_t>(read_file(path).size() + data_bytes)) == 0, "truncate");
  const SafetensorsFile file(path);
  const std::byte* const data = file.data(file.entries().at("a"));
  CHECK(data[data_bytes - 1] == std::byte{0}, "the last byte");
}

TEST_CASE("shards form one set of tensors, and a tensor held twice names both files") {
  const TemporaryFolder folder;
  const std::string first = folder.path("model-00001-of-00002.safetensors");
  const std::string second = folder.path("model-00002-of-00002.safetensors");
  write_file(first, safetensors_bytes({{"a", {2}, {1, 2}}}, DType::kF32));
  write_file(second, safetensors_bytes({{"b", {1, 1}, {3}}, {"bert.c", {1}, {4}}}, DType::kF16));

  const Checkpoint checkpoint({first, second});
  CHECK(checkpoint.tensor("a", {2}).dtype == DType::kF32, "dtype of a");
  CHECK(checkpoint.tensor("b", {1, 1}).dtype == DType::kF16, "dtype of b");
  CHECK(checkpoint.has("c") && checkpoint.has("bert.c"), "with and without the prefix");
  CHECK(!checkpoint.has("d"), "a tensor that is not there");
  CHECK(checkpoint.shape("b") == (std::vector<int64_t>{1, 1}), "shape of b");
  CHECK(checkpoint.describe() == first + ", " + second, checkpoint.describe());

  check_throws("missing", ErrorCode::kTensorMissing, first + ", " + second,
               [&] { checkpoint.tensor("d", {1}); });
  check_throws("shape", ErrorCode::kTensorShapeMismatch, "expected [1, 1] for the shape of tensor \"a\"",
               [&] {
                 checkpoint.tensor("a", {1, 1});
               });
  check_throws("rank", ErrorCode::kTensorShapeMismatch, "received [1, 1]",
               [&] { checkpoint.tensor("b", {1}); });

  write_file(second, safetensors_bytes({{"a", {1}, {3}}}, DType::kF32));
  check_throws("twice", ErrorCode::kCheckpointInvalid, first + " and " + second, [&] {
    Checkpoint({first, second});
  });
  check_throws("same file twice", ErrorCode::kCheckpointInvalid, "tensor \"a\"", [&] {
    Checkpoint({first, first});
  });
  check_throws("no file", ErrorCode::kCheckpointInvalid, "at least one file", [&] { Checkpoint{{}}; });
}

TEST_CASE("two spellings of one tensor are refused, and integers nobody reads are not") {
  const TemporaryFolder folder;
  const std::string path = folder.path("model.safetensors");
  write_file(path, safetensors_bytes({{"w", {1}, {1}}, {"bert.w", {1}, {2}}}, DType::kF32));
  check_throws("prefix", ErrorCode::kCheckpointInvalid, "\"w\" and \"bert.w\"",
               [&] { Checkpoint({path}).tensor("w", {1}); });

  write_file(path, safetensors_bytes({{"x.LayerNorm.gamma", {1}, {1}}, {"bert.x.LayerNorm.beta", {1}, {2}}},
                                     DType::kF32));
  const Checkpoint old_names({path});
  CHECK(old_names.has("x.LayerNorm.weight") && old_names.has("x.LayerNorm.bias"), "gamma and beta");

  write_file(path, file_with_header("{\"ids\":" + entry("I64", "[1]", "[0,8]") + "}", "12345678"));
  const Checkpoint integers({path});
  check_throws("dtype", ErrorCode::kDtypeUnsupported, "F32, F16 or BF16",
               [&] { integers.tensor("ids", {1}); });
}

TEST_CASE("no descriptor and no mapping outlives its file, loaded or refused") {
  const TemporaryFolder folder;
  const std::string good = folder.path("good.safetensors");
  const std::string bad = folder.path("bad.safetensors");
  write_file(good, safetensors_bytes({{"a", {2}, {1, 2}}}, DType::kF32));
  write_file(bad, file_with_header("{", "data"));
  const int before = open_descriptors();
  {
    SafetensorsFile file(good);
    SafetensorsFile moved = std::move(file);
    moved = SafetensorsFile(good);
    CHECK(mappings_of(good) == 1, std::to_string(mappings_of(good)) + " mappings of an open file");
    CHECK(open_descriptors() == before, "a descriptor stays open beside the mapping");
  }
  for (int i = 0; i < 100; ++i) {
    check_throws("bad", ErrorCode::kCheckpointInvalid, bad, [&] { Checkpoint({good, bad}); });
  }
  CHECK(open_descriptors() == before, "descriptors leaked");
  CHECK(mappings_of(good) == 0 && mappings_of(bad) == 0, "mappings leaked");
}
