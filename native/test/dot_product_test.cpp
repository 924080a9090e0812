// One contract suite for dot_product_forward on every instruction set that this machine has.
#include <cmath>
#include <string>
#include <vector>

#include "kernels/kernel_table.h"
#include "test/check.h"
#include "test/kernel_support.h"

namespace elasticlm {
namespace {

using test::Bound;
using test::gamma_bound;
using test::Random;
using test::supported_isas;
using test::WorstError;

std::vector<float> random_vectors(Random& random, int64_t count, int64_t dims) {
  std::vector<float> vectors(static_cast<size_t>(count * dims));
  for (float& value : vectors) value = random.normal();
  return vectors;
}

struct Problem {
  int64_t num_queries;
  int64_t num_documents;
  int64_t dims;
};

// [num_queries, num_documents], followed by poison that must survive.
std::vector<float> scores_of(Isa isa, const Problem& problem, const float* queries, const float* documents) {
  constexpr size_t kMargin = 32;
  const auto count = static_cast<size_t>(problem.num_queries * problem.num_documents);
  std::vector<float> scores = test::poisoned(static_cast<int64_t>(count + kMargin));
  kernel_table(isa).dot_product_forward({.queries = queries,
                                         .documents = documents,
                                         .scores = scores.data(),
                                         .num_queries = problem.num_queries,
                                         .num_documents = problem.num_documents,
                                         .dims = problem.dims});
  for (size_t i = count; i < scores.size(); ++i) {
    CHECK(test::is_poison(scores[i]),
          std::string(isa_name(isa)) + ": wrote past the scores, at " + std::to_string(i));
  }
  scores.resize(count);
  return scores;
}

// The vectors are exact copies in buffers of exactly their size, so that a sanitizer sees any read past them.
void check_problem(Random& random, const Problem& problem) {
  const std::vector<float> queries = random_vectors(random, problem.num_queries, problem.dims);
  const std::vector<float> documents = random_vectors(random, problem.num_documents, problem.dims);
  for (const Isa isa : supported_isas()) {
    const std::vector<float> scores = scores_of(isa, problem, queries.data(), documents.data());
    WorstError worst;
    for (int64_t q = 0; q < problem.num_queries; ++q) {
      for (int64_t d = 0; d < problem.num_documents; ++d) {
        double sum = 0;
        double magnitude = 0;
        for (int64_t e = 0; e < problem.dims; ++e) {
          const double product = static_cast<double>(queries[static_cast<size_t>(q * problem.dims + e)]) *
                                 documents[static_cast<size_t>(d * problem.dims + e)];
          sum += product;
          magnitude += std::abs(product);
        }
        // Any order of summing `dims` products: Higham, Accuracy and Stability of Numerical Algorithms, 3.1.
        const Bound bound = {sum, gamma_bound(static_cast<double>(problem.dims + 1)) * magnitude};
        worst.add(scores[static_cast<size_t>(q * problem.num_documents + d)], bound, {q, d});
      }
    }
    CHECK_WITHIN(worst, std::string(isa_name(isa)) + ", " + std::to_string(problem.num_queries) + " x " +
                            std::to_string(problem.num_documents) + " x " + std::to_string(problem.dims) +
                            " (query, document)");
  }
}

TEST_CASE("dot_product_forward: every remainder of queries, documents and dims") {
  Random random(1);
  for (int64_t dims = 1; dims <= 70; ++dims) {
    for (int64_t num_queries = 1; num_queries <= 9; ++num_queries) {
      check_problem(random, {num_queries, 1 + (dims * 3 + num_queries) % 11, dims});
    }
  }
}

TEST_CASE("dot_product_forward: more documents than one block of the cache") {
  Random random(2);
  for (const int64_t dims : {384, 768, 5000}) check_problem(random, {5, 103, dims});
}

TEST_CASE("dot_product_forward: no queries, no documents, no dims") {
  Random random(3);
  check_problem(random, {0, 7, 8});
  check_problem(random, {3, 0, 8});
  check_problem(random, {3, 5, 0});
}

TEST_CASE("dot_product_forward: a score has the same bits alone and at every place in a call") {
  Random random(4);
  for (const Isa isa : supported_isas()) {
    for (const int64_t dims : {1, 7, 16, 37, 384}) {
      const Problem problem = {9, 23, dims};
      const std::vector<float> queries = random_vectors(random, problem.num_queries, dims);
      const std::vector<float> documents = random_vectors(random, problem.num_documents, dims);
      const std::vector<float> together = scores_of(isa, problem, queries.data(), documents.data());
      for (int64_t q = 0; q < problem.num_queries; ++q) {
        for (int64_t d = 0; d < problem.num_documents; ++d) {
          const float alone =
              scores_of(isa, {1, 1, dims}, queries.data() + q * dims, documents.data() + d * dims).front();
          const float in_call = together[static_cast<size_t>(q * problem.num_documents + d)];
          char text[160];
          std::snprintf(text, sizeof(text),
                        "%s, dims %d: query %d, document %d is %.9g in a call and %.9g alone", isa_name(isa),
                        static_cast<int>(dims), static_cast<int>(q), static_cast<int>(d),
                        static_cast<double>(in_call), static_cast<double>(alone));
          CHECK(test::same_bits(alone, in_call), text);
        }
      }
    }
  }
}

struct Quantised {
  std::vector<int8_t> queries;     // [num_queries, code_stride(dims)]
  std::vector<RowScale> scales;    // [num_queries]
  std::vector<uint8_t> documents;  // [num_documents, code_stride(dims)]
  std::vector<float> document_scales;
};

// Codes over their whole range, the largest among them.
Quantised random_codes(Random& random, const Problem& problem) {
  const int64_t stride = code_stride(problem.dims);
  Quantised codes;
  for (int64_t q = 0; q < problem.num_queries; ++q) {
    RowScale scale{std::abs(random.normal()), 0};
    for (int64_t e = 0; e < stride; ++e) {
      const bool is_extreme = random.integer(0, 9) == 0;
      const int64_t code = is_extreme ? 127 - 254 * random.integer(0, 1) : random.integer(-127, 127);
      codes.queries.push_back(static_cast<int8_t>(code));
      scale.sum += codes.queries.back();
    }
    codes.scales.push_back(scale);
  }
  for (int64_t d = 0; d < problem.num_documents; ++d) {
    codes.document_scales.push_back(std::abs(random.normal()));
    for (int64_t e = 0; e < stride; ++e)
      codes.documents.push_back(static_cast<uint8_t>(random.integer(0, 255)));
  }
  return codes;
}

std::vector<float> i8_scores_of(Isa isa, const Problem& problem, const Quantised& codes, int64_t query = 0,
                                int64_t document = 0) {
  const int64_t stride = code_stride(problem.dims);
  std::vector<float> scores = test::poisoned(problem.num_queries * problem.num_documents + 1);
  kernel_table(isa).dot_product_i8_forward({.queries = codes.queries.data() + query * stride,
                                            .query_scales = codes.scales.data() + query,
                                            .documents = codes.documents.data() + document * stride,
                                            .document_scales = codes.document_scales.data() + document,
                                            .scores = scores.data(),
                                            .num_queries = problem.num_queries,
                                            .num_documents = problem.num_documents,
                                            .dims = problem.dims});
  CHECK(test::is_poison(scores.back()), std::string(isa_name(isa)) + ": wrote past the scores");
  scores.pop_back();
  return scores;
}

TEST_CASE("dot_product_i8_forward: every remainder, exact up to the scales, the same bits on every ISA") {
  Random random(5);
  for (const int64_t dims : {0, 1, 3, 4, 63, 64, 65, 100, 384, 512}) {
    for (int64_t num_queries = 0; num_queries <= 9; ++num_queries) {
      const Problem problem = {num_queries, 1 + (dims * 3 + num_queries) % 11, dims};
      const Quantised codes = random_codes(random, problem);
      const std::vector<float> expected = i8_scores_of(Isa::kRef, problem, codes);
      for (const Isa isa : supported_isas()) {
        const std::vector<float> scores = i8_scores_of(isa, problem, codes);
        for (size_t i = 0; i < scores.size(); ++i) {
          // -0 and 0 are the same score.
          CHECK(scores[i] == expected[i], std::string(isa_name(isa)) + ", dims " + std::to_string(dims) +
                                              ": score " + std::to_string(i) + " is " +
                                              std::to_string(scores[i]) + ", expected " +
                                              std::to_string(expected[i]) + " (tolerance: none)");
        }
      }
    }
  }
}

TEST_CASE("dot_product_i8_forward: wide vectors within their roundings") {
  Random random(6);
  const Problem problem = {5, 21, 4096};
  const Quantised codes = random_codes(random, problem);
  const std::vector<float> exact = i8_scores_of(Isa::kRef, problem, codes);
  for (const Isa isa : supported_isas()) {
    const std::vector<float> scores = i8_scores_of(isa, problem, codes);
    WorstError worst;
    for (int64_t q = 0; q < problem.num_queries; ++q) {
      for (int64_t d = 0; d < problem.num_documents; ++d) {
        const auto at = static_cast<size_t>(q * problem.num_documents + d);
        const double scale = static_cast<double>(codes.scales[static_cast<size_t>(q)].scale) *
                             codes.document_scales[static_cast<size_t>(d)];
        // Four halvings of 16 lanes and the correction round a sum below 4096 * 255 * 127; the reference
        // rounds its own sum and both scales.
        const double sum = 4096.0 * 255 * 127;
        worst.add(scores[at], {exact[at], gamma_bound(8) * (sum * scale + std::abs(exact[at]))}, {q, d});
      }
    }
    CHECK_WITHIN(worst, std::string(isa_name(isa)) + " (query, document)");
  }
}

TEST_CASE("dot_product_i8_forward: a score has the same bits alone and at every place in a call") {
  Random random(7);
  for (const Isa isa : supported_isas()) {
    for (const int64_t dims : {7, 384, 2000}) {
      const Problem problem = {9, 23, dims};
      const Quantised codes = random_codes(random, problem);
      const std::vector<float> together = i8_scores_of(isa, problem, codes);
      for (int64_t q = 0; q < problem.num_queries; ++q) {
        for (int64_t d = 0; d < problem.num_documents; ++d) {
          const float alone = i8_scores_of(isa, {1, 1, dims}, codes, q, d).front();
          CHECK(test::same_bits(alone, together[static_cast<size_t>(q * problem.num_documents + d)]),
                std::string(isa_name(isa)) + ": query " + std::to_string(q) + ", document " +
                    std::to_string(d) + ", dims " + std::to_string(dims));
        }
      }
    }
  }
}

}  // namespace
}  // namespace elasticlm
