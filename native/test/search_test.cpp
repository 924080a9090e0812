// Exact search against a scalar sort, its independence of threads, and index files that lie.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <future>
#include <limits>
#include <numeric>

#include "core/status.h"
#include "search/rotation.h"
#include "search/vector_index.h"
#include "test/check.h"

namespace elasticlm {
namespace {

struct Hits {
  std::vector<int32_t> documents;
  std::vector<float> scores;
};

const KernelTable& kernels() { return kernel_table(choose_isa("")); }

// Runs `body` as a job of `pool` and rethrows what it throws.
void run_job(ThreadPool& pool, const std::function<void(int)>& body) {
  std::promise<void> done;
  pool.submit([&](int worker_idx) {
    try {
      body(worker_idx);
      done.set_value();
    } catch (...) {
      done.set_exception(std::current_exception());
    }
  });
  done.get_future().get();
}

Hits run_search(const VectorIndex& index, const std::vector<float>& queries, int64_t top_k, int num_threads) {
  const int64_t rows = static_cast<int64_t>(queries.size()) / index.dims() * std::min(top_k, index.count());
  Hits hits{std::vector<int32_t>(static_cast<size_t>(rows), -1),
            std::vector<float>(static_cast<size_t>(rows))};
  ThreadPool pool(num_threads);
  run_job(pool, [&](int worker_idx) {
    const SearchArgs args{
        .queries = queries, .top_k = top_k, .documents = hits.documents.data(), .scores = hits.scores.data()};
    search(index, args, kernels(), pool, worker_idx);
  });
  return hits;
}

std::vector<float> random_vectors(int64_t count, int64_t dims, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> vectors(static_cast<size_t>(count * dims));
  for (float& value : vectors) value = normal(random);
  return vectors;
}

// Every score from its two vectors alone, then one stable sort: the definition.
Hits expected_hits(const std::vector<float>& vectors, const std::vector<float>& queries, int64_t dims,
                   int64_t top_k) {
  const int64_t count = static_cast<int64_t>(vectors.size()) / dims;
  const int64_t num_queries = static_cast<int64_t>(queries.size()) / dims;
  const int64_t kept = std::min(top_k, count);
  Hits hits;
  for (int64_t q = 0; q < num_queries; ++q) {
    std::vector<float> scores(static_cast<size_t>(count));
    for (int64_t d = 0; d < count; ++d) {
      kernels().dot_product_forward({.queries = queries.data() + q * dims,
                                     .documents = vectors.data() + d * dims,
                                     .scores = &scores[static_cast<size_t>(d)],
                                     .num_queries = 1,
                                     .num_documents = 1,
                                     .dims = dims});
    }
    std::vector<int32_t> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      const float x = scores[static_cast<size_t>(a)];
      const float y = scores[static_cast<size_t>(b)];
      if (std::isnan(x) || std::isnan(y)) return !std::isnan(x) && std::isnan(y);
      return x > y;
    });
    for (int64_t i = 0; i < kept; ++i) {
      hits.documents.push_back(order[static_cast<size_t>(i)]);
      hits.scores.push_back(scores[static_cast<size_t>(order[static_cast<size_t>(i)])]);
    }
  }
  return hits;
}

void check_same(const Hits& found, const Hits& expected, const std::string& what) {
  CHECK(found.documents.size() == expected.documents.size(), what + ": another number of hits");
  for (size_t i = 0; i < found.documents.size(); ++i) {
    const bool same_bits = std::memcmp(&found.scores[i], &expected.scores[i], sizeof(float)) == 0 ||
                           (std::isnan(found.scores[i]) && std::isnan(expected.scores[i]));
    CHECK(found.documents[i] == expected.documents[i] && same_bits,
          what + ": hit " + std::to_string(i) + " is document " + std::to_string(found.documents[i]) + " (" +
              std::to_string(found.scores[i]) + "), expected " + std::to_string(expected.documents[i]) +
              " (" + std::to_string(expected.scores[i]) + ")");
  }
}

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::vector<uint8_t>& bytes) {
    char name[] = "/tmp/elasticlm-search-XXXXXX";
    const int fd = ::mkstemp(name);
    CHECK(fd >= 0, "cannot make a temporary file");
    ::close(fd);
    path_ = name;
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  ~TemporaryFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

template <typename T>
void put(std::vector<uint8_t>& bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
}

std::vector<uint8_t> index_file(const std::vector<float>& vectors, uint32_t dims, const std::string& ids) {
  const size_t vector_bytes = vectors.size() * sizeof(float);
  std::vector<uint8_t> bytes(64 + vector_bytes + ids.size());
  std::memcpy(bytes.data(), "ELMVIDX1", 8);
  put<uint32_t>(bytes, 8, dims);
  put<uint64_t>(bytes, 16, vectors.size() / dims);
  put<uint64_t>(bytes, 24, 64 + vector_bytes);
  put<uint64_t>(bytes, 32, ids.size());
  std::memcpy(bytes.data() + 64, vectors.data(), vector_bytes);
  std::memcpy(bytes.data() + 64 + vector_bytes, ids.data(), ids.size());
  return bytes;
}

void expect_code(ErrorCode code, const std::string& what, const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    CHECK(error.code() == code, what + ": " + error_code_name(error.code()) + ": " + error.what());
    return;
  }
  CHECK(false, what + ": no error");
}

TEST_CASE("search finds what a scalar sort finds, over remainders of blocks and tiles") {
  for (const int64_t dims : {1, 16, 387}) {
    for (const int64_t count : {1, 2, 169, 170, 400}) {
      for (const int64_t num_queries : {1, 15, 17}) {
        const std::vector<float> vectors = random_vectors(count, dims, 1);
        const std::vector<float> queries = random_vectors(num_queries, dims, 2);
        const VectorIndex index(vectors, dims);
        for (const int64_t top_k : {int64_t{1}, int64_t{10}, count, count + 5}) {
          check_same(run_search(index, queries, top_k, 2), expected_hits(vectors, queries, dims, top_k),
                     std::to_string(count) + "x" + std::to_string(dims) + ", " + std::to_string(num_queries) +
                         " queries, top " + std::to_string(top_k));
        }
      }
    }
  }
}

TEST_CASE("search gives the same bits for every number of threads") {
  const std::vector<float> vectors = random_vectors(3000, 96, 3);
  const std::vector<float> queries = random_vectors(300, 96, 4);
  const VectorIndex index(vectors, 96);
  const Hits one = run_search(index, queries, 20, 1);
  for (const int num_threads : {2, 3, 5})
    check_same(run_search(index, queries, 20, num_threads), one, "threads");
}

TEST_CASE("search splits the queries when a large top_k would take too much memory") {
  const std::vector<float> vectors = random_vectors(50000, 2, 5);
  const std::vector<float> queries = random_vectors(120, 2, 6);
  const VectorIndex index(vectors, 2);
  check_same(run_search(index, queries, 50000, 2), expected_hits(vectors, queries, 2, 50000), "large top_k");
}

TEST_CASE("search puts equal scores in document order, signed zeros among them") {
  std::vector<float> vectors(static_cast<size_t>(1000));
  for (size_t d = 0; d < vectors.size(); ++d) vectors[d] = d % 3 == 0 ? 0.0f : (d % 3 == 1 ? -0.0f : 1.0f);
  const VectorIndex index(vectors, 1);
  check_same(run_search(index, {1.0f}, 1000, 3), expected_hits(vectors, {1.0f}, 1, 1000), "ties");
}

TEST_CASE("search puts NaN scores last, behind minus infinity") {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float inf = std::numeric_limits<float>::infinity();
  const VectorIndex index(std::vector<float>{nan, 1.0f, -inf, nan, inf, 2.0f}, 1);
  const Hits all = run_search(index, {1.0f}, 6, 1);
  CHECK((all.documents == std::vector<int32_t>{4, 5, 1, 2, 0, 3}), "another order");
  const Hits four = run_search(index, {1.0f}, 4, 1);
  CHECK((four.documents == std::vector<int32_t>{4, 5, 1, 2}), "NaN pushed out a number");
}

TEST_CASE("search of nothing writes nothing") {
  const VectorIndex empty(std::vector<float>{}, 8);
  CHECK(empty.count() == 0, "count");
  CHECK(run_search(empty, random_vectors(2, 8, 1), 5, 1).documents.empty(), "hits from an empty index");
  const VectorIndex index(random_vectors(3, 8, 1), 8);
  CHECK(run_search(index, {}, 5, 1).documents.empty(), "hits for no query");
  CHECK(run_search(index, random_vectors(2, 8, 1), 0, 1).documents.empty(), "hits for top_k 0");
}

TEST_CASE("search refuses queries of another width") {
  const VectorIndex index(random_vectors(3, 8, 1), 8);
  expect_code(ErrorCode::kIndexInvalid, "7 floats",
              [&] { run_search(index, random_vectors(1, 7, 1), 1, 1); });
}

TEST_CASE("an index file gives the vectors that were written, and the same hits") {
  const std::vector<float> vectors = random_vectors(40, 12, 7);
  const TemporaryFile file(index_file(vectors, 12, "[]"));
  const VectorIndex index(file.path());
  CHECK(index.count() == 40 && index.dims() == 12, "count or dims");
  CHECK(std::equal(vectors.begin(), vectors.end(), index.vectors()), "vectors");
  const std::vector<float> queries = random_vectors(3, 12, 8);
  check_same(run_search(index, queries, 5, 2), expected_hits(vectors, queries, 12, 5), "mapped");
}

// What an i8 index holds, by its definition.
struct Codes {
  std::vector<float> values;  // [count, code_stride(dims)] whole numbers
  std::vector<float> scales;  // [count]
};

Codes codes_of(const std::vector<float>& vectors, int64_t dims) {
  Codes codes;
  std::vector<float> rotated(static_cast<size_t>(code_stride(dims)));
  for (size_t begin = 0; begin < vectors.size(); begin += static_cast<size_t>(dims)) {
    rotate_vector(std::span(vectors).subspan(begin, static_cast<size_t>(dims)), rotated);
    float absmax = 0.0f;
    for (const float element : rotated) absmax = std::max(absmax, std::abs(element));
    const float gain = absmax == 0.0f ? 0.0f : 127.0f / absmax;
    for (const float element : rotated) codes.values.push_back(std::nearbyint(element * gain));
    codes.scales.push_back(absmax / 127.0f);
  }
  return codes;
}

TEST_CASE("the rotation keeps dot products and makes elements alike") {
  for (const int64_t dims : {1, 5, 64, 100, 384, 768}) {
    const auto size = static_cast<size_t>(dims);
    const std::vector<float> vectors = random_vectors(2, dims, 20);
    std::vector<float> rotated[2];
    for (size_t i = 0; i < 2; ++i) {
      rotated[i].resize(static_cast<size_t>(code_stride(dims)));
      rotate_vector(std::span(vectors).subspan(i * size, size), rotated[i]);
    }
    double expected = 0, found = 0, squares = 0;
    for (size_t e = 0; e < size; ++e) {
      const double x = vectors[e];
      const double y = vectors[size + e];
      expected += x * y;
      squares += x * x + y * y;
    }
    for (size_t e = 0; e < rotated[0].size(); ++e)
      found += static_cast<double>(rotated[0][e]) * rotated[1][e];
    // At most eight additions and two products round each element, relative to the vector's length; twice.
    CHECK(
        std::abs(found - expected) <= 20 * 0x1p-24 * squares,
        std::to_string(dims) + " dims: " + std::to_string(found) + ", expected " + std::to_string(expected));
  }
  std::vector<float> one(384);
  one[17] = 1.0f;
  std::vector<float> spread(384);
  rotate_vector(one, spread);
  CHECK(*std::max_element(spread.begin(), spread.end()) < 0.1f, "one element stays one");
}

Hits expected_i8_hits(const std::vector<float>& vectors, const std::vector<float>& queries, int64_t dims,
                      int64_t top_k) {
  const Codes documents = codes_of(vectors, dims);
  const Codes asked = codes_of(queries, dims);
  const auto stride = static_cast<size_t>(code_stride(dims));
  Hits hits;
  for (size_t q = 0; q < asked.scales.size(); ++q) {
    std::vector<float> scores;
    for (size_t d = 0; d < documents.scales.size(); ++d) {
      float sum = 0.0f;  // exact: below 2^24
      for (size_t e = 0; e < stride; ++e)
        sum += asked.values[q * stride + e] * documents.values[d * stride + e];
      scores.push_back(sum * (asked.scales[q] * documents.scales[d]));
    }
    std::vector<int32_t> order(scores.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
    });
    for (size_t i = 0; i < std::min(order.size(), static_cast<size_t>(top_k)); ++i) {
      hits.documents.push_back(order[i]);
      hits.scores.push_back(scores[static_cast<size_t>(order[i])]);
    }
  }
  return hits;
}

TEST_CASE("an i8 index finds what quantising and a scalar sort find") {
  for (const int64_t dims : {1, 64, 387}) {
    for (const int64_t count : {1, 700, 3000}) {
      std::vector<float> vectors = random_vectors(count, dims, 10);
      std::fill_n(vectors.begin(), dims, 0.0f);  // a vector of zeros
      const std::vector<float> queries = random_vectors(18, dims, 11);
      const VectorIndex index(vectors, dims, Precision::kI8);
      CHECK(index.precision() == Precision::kI8 && index.bytes() == count * (code_stride(dims) + 4), "facts");
      for (const int num_threads : {1, 3}) {
        check_same(run_search(index, queries, 20, num_threads), expected_i8_hits(vectors, queries, dims, 20),
                   std::to_string(count) + "x" + std::to_string(dims) + " in i8");
      }
    }
  }
}

TEST_CASE("an index of vectors in several places is that of the vectors joined") {
  constexpr int64_t kDims = 24;
  const std::vector<float> vectors = random_vectors(700, kDims, 16);
  const std::vector<float> queries = random_vectors(3, kDims, 17);
  const std::span<const float> all(vectors);
  const std::vector<std::span<const float>> parts = {all.first(5 * kDims), {}, all.subspan(5 * kDims)};
  for (const Precision precision : {Precision::kF32, Precision::kI8}) {
    check_same(run_search(VectorIndex(parts, kDims, precision), queries, 30, 2),
               run_search(VectorIndex(vectors, kDims, precision), queries, 30, 2), precision_name(precision));
    expect_code(ErrorCode::kIndexInvalid, "a vector in two parts", [&] {
      const std::vector<std::span<const float>> halves = {all.first(12), all.subspan(12, 12)};
      VectorIndex(halves, kDims, precision);
    });
  }
}

TEST_CASE("an i8 index puts vectors that are not finite last") {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float inf = std::numeric_limits<float>::infinity();
  const VectorIndex index(std::vector<float>{1, nan, 2, 3, inf, 1, 4, 5}, 2, Precision::kI8);
  const Hits hits = run_search(index, {1.0f, 1.0f}, 4, 1);
  CHECK((hits.documents == std::vector<int32_t>{3, 1, 0, 2}), "another order");
  CHECK(std::isnan(hits.scores[2]) && std::isnan(hits.scores[3]), "scores of what is not finite");
}

TEST_CASE("an i8 index finds 99 of the 100 best of clustered unit vectors") {
  constexpr int64_t kDims = 96, kCount = 20000, kQueries = 20, kTop = 100;
  std::vector<float> vectors = random_vectors(kCount + kQueries, kDims, 12);
  const std::vector<float> centres = random_vectors(200, kDims, 13);
  for (int64_t i = 0; i < kCount + kQueries; ++i) {
    float* const vector = vectors.data() + i * kDims;
    double norm = 0;
    for (int64_t e = 0; e < kDims; ++e) {
      vector[e] += centres[static_cast<size_t>(i % 200 * kDims + e)];
      norm += static_cast<double>(vector[e]) * vector[e];
    }
    for (int64_t e = 0; e < kDims; ++e) vector[e] /= static_cast<float>(std::sqrt(norm));
  }
  const std::vector<float> queries(vectors.end() - kQueries * kDims, vectors.end());
  vectors.resize(static_cast<size_t>(kCount * kDims));
  const Hits exact = run_search(VectorIndex(vectors, kDims), queries, kTop, 2);
  const Hits found = run_search(VectorIndex(vectors, kDims, Precision::kI8), queries, kTop, 2);
  int64_t same = 0;
  for (int64_t q = 0; q < kQueries; ++q) {
    const auto begin = exact.documents.begin() + q * kTop;
    for (int64_t i = 0; i < kTop; ++i)
      same += std::count(begin, begin + kTop, found.documents[static_cast<size_t>(q * kTop + i)]);
  }
  CHECK(same >= kQueries * kTop * 99 / 100, "recall " + std::to_string(same) + " of 2000");
}

TEST_CASE("an i8 index file gives the hits of the index in memory") {
  const std::vector<float> vectors = random_vectors(40, 12, 14);
  const std::vector<float> queries = random_vectors(3, 12, 15);
  const VectorIndex memory(vectors, 12, Precision::kI8);
  std::vector<uint8_t> bytes(64 + static_cast<size_t>(memory.bytes()) + 2);
  std::memcpy(bytes.data(), "ELMVIDX1", 8);
  put<uint32_t>(bytes, 8, 12);
  put<uint32_t>(bytes, 12, 1);
  put<uint64_t>(bytes, 16, 40);
  put<uint64_t>(bytes, 24, 64 + static_cast<uint64_t>(memory.bytes()));
  put<uint64_t>(bytes, 32, 2);
  std::memcpy(bytes.data() + 64, memory.codes(), 40 * 64);
  std::memcpy(bytes.data() + 64 + 40 * 64, memory.scales(), 40 * sizeof(float));
  std::memcpy(bytes.data() + bytes.size() - 2, "[]", 2);
  const TemporaryFile file(bytes);
  const VectorIndex mapped(file.path());
  CHECK(mapped.precision() == Precision::kI8 && mapped.count() == 40 && mapped.dims() == 12, "facts");
  check_same(run_search(mapped, queries, 7, 2), run_search(memory, queries, 7, 1), "mapped in i8");
}

TEST_CASE("a missing, empty or odd index file fails with its code") {
  expect_code(ErrorCode::kFileNotFound, "missing", [] { VectorIndex("/tmp/elasticlm-no-such-file.idx"); });
  expect_code(ErrorCode::kFileUnreadable, "folder", [] { VectorIndex("/tmp"); });
  const TemporaryFile empty({});
  expect_code(ErrorCode::kIndexInvalid, "empty", [&] { VectorIndex index(empty.path()); });
}

TEST_CASE("an index header that lies fails with its code") {
  const std::vector<uint8_t> good = index_file(random_vectors(4, 2, 9), 2, "[\"a\",\"b\",\"c\",\"d\"]");
  constexpr uint64_t huge = std::numeric_limits<uint64_t>::max();
  struct Lie {
    const char* what;
    std::function<void(std::vector<uint8_t>&)> tell;
  };
  const std::vector<Lie> lies = {
      {"magic", [](auto& bytes) { bytes[7] = '2'; }},
      {"precision 2", [](auto& bytes) { put<uint32_t>(bytes, 12, 2); }},
      {"i8 over f32 vectors", [](auto& bytes) { put<uint32_t>(bytes, 12, 1); }},
      {"reserved tail", [](auto& bytes) { bytes[63] = 1; }},
      {"dims 0", [](auto& bytes) { put<uint32_t>(bytes, 8, 0); }},
      {"dims huge", [](auto& bytes) { put<uint32_t>(bytes, 8, 0xffffffffu); }},
      {"dims 3", [](auto& bytes) { put<uint32_t>(bytes, 8, 3); }},
      {"count huge", [](auto& bytes) { put<uint64_t>(bytes, 16, huge); }},
      {"count that wraps around", [](auto& bytes) { put<uint64_t>(bytes, 16, (uint64_t{1} << 61) + 4); }},
      {"count 5", [](auto& bytes) { put<uint64_t>(bytes, 16, 5); }},
      {"ids_offset inside the vectors", [](auto& bytes) { put<uint64_t>(bytes, 24, 64); }},
      {"ids_offset huge", [](auto& bytes) { put<uint64_t>(bytes, 24, huge); }},
      {"ids_bytes huge", [](auto& bytes) { put<uint64_t>(bytes, 32, huge); }},
      {"ids_bytes too few", [](auto& bytes) { put<uint64_t>(bytes, 32, 1); }},
      {"cut off ids", [](auto& bytes) { bytes.pop_back(); }},
      {"cut off vectors", [](auto& bytes) { bytes.resize(70); }},
      {"cut off header", [](auto& bytes) { bytes.resize(63); }},
  };
  for (const Lie& lie : lies) {
    std::vector<uint8_t> bytes = good;
    lie.tell(bytes);
    const TemporaryFile file(bytes);
    expect_code(ErrorCode::kIndexInvalid, lie.what, [&] { VectorIndex index(file.path()); });
  }
}

}  // namespace
}  // namespace elasticlm
