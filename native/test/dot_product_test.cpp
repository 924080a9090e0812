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

}  // namespace
}  // namespace elasticlm
