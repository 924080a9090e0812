// One contract suite for dot_product_forward on every instruction set that this machine has.
#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>

#include "kernels/kernel_table.h"
#include "test/check.h"

namespace elasticlm {
namespace {

constexpr double kUnit = 0x1p-24;  // rounding unit of f32

std::vector<Isa> isas() {
  std::vector<Isa> supported;
  for (const Isa isa : {Isa::kRef, Isa::kGeneric, Isa::kAvx2, Isa::kAvx512}) {
    if (isa_supported(isa)) {
      supported.push_back(isa);
    } else {
      std::printf("skipped: this machine cannot run %s\n", isa_name(isa));
    }
  }
  return supported;
}

std::vector<float> random_vectors(std::mt19937_64& generator, int64_t count, int64_t dims) {
  std::normal_distribution<float> normal;
  std::vector<float> vectors(static_cast<size_t>(count * dims));
  for (float& value : vectors) value = normal(generator);
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
  std::vector<float> scores(count + kMargin, std::numeric_limits<float>::quiet_NaN());
  kernel_table(isa).dot_product_forward({.queries = queries,
                                         .documents = documents,
                                         .scores = scores.data(),
                                         .num_queries = problem.num_queries,
                                         .num_documents = problem.num_documents,
                                         .dims = problem.dims});
  for (size_t i = count; i < scores.size(); ++i) {
    CHECK(std::isnan(scores[i]), std::string(isa_name(isa)) + ": wrote past the scores, at " + std::to_string(i));
  }
  scores.resize(count);
  return scores;
}

// The vectors are exact copies in buffers of exactly their size, so that a sanitizer sees any read past them.
void check_problem(std::mt19937_64& generator, const Problem& problem) {
  const std::vector<float> queries = random_vectors(generator, problem.num_queries, problem.dims);
  const std::vector<float> documents = random_vectors(generator, problem.num_documents, problem.dims);
  for (const Isa isa : isas()) {
    const std::vector<float> scores = scores_of(isa, problem, queries.data(), documents.data());
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
        const double roundings = static_cast<double>(problem.dims + 1) * kUnit;
        const double tolerance = roundings / (1.0 - roundings) * magnitude;
        const double got = scores[static_cast<size_t>(q * problem.num_documents + d)];
        std::ostringstream text;
        text.precision(9);
        text << isa_name(isa) << ", " << problem.num_queries << " x " << problem.num_documents << " x " << problem.dims
             << ": score of query " << q << ", document " << d << " is " << got << ", expected " << sum << " within "
             << tolerance;
        CHECK(std::abs(got - sum) <= tolerance, text.str());
      }
    }
  }
}

TEST_CASE("dot_product_forward: every remainder of queries, documents and dims") {
  std::mt19937_64 generator(1);
  for (int64_t dims = 1; dims <= 70; ++dims) {
    for (int64_t num_queries = 1; num_queries <= 9; ++num_queries) {
      check_problem(generator, {num_queries, 1 + (dims * 3 + num_queries) % 11, dims});
    }
  }
}

TEST_CASE("dot_product_forward: more documents than one block of the cache") {
  std::mt19937_64 generator(2);
  for (const int64_t dims : {384, 768, 5000}) check_problem(generator, {5, 103, dims});
}

TEST_CASE("dot_product_forward: no queries, no documents, no dims") {
  std::mt19937_64 generator(3);
  check_problem(generator, {0, 7, 8});
  check_problem(generator, {3, 0, 8});
  check_problem(generator, {3, 5, 0});
}

TEST_CASE("dot_product_forward: a score has the same bits alone and at every place in a call") {
  std::mt19937_64 generator(4);
  for (const Isa isa : isas()) {
    for (const int64_t dims : {1, 7, 16, 37, 384}) {
      const Problem problem = {9, 23, dims};
      const std::vector<float> queries = random_vectors(generator, problem.num_queries, dims);
      const std::vector<float> documents = random_vectors(generator, problem.num_documents, dims);
      const std::vector<float> together = scores_of(isa, problem, queries.data(), documents.data());
      for (int64_t q = 0; q < problem.num_queries; ++q) {
        for (int64_t d = 0; d < problem.num_documents; ++d) {
          const float alone =
              scores_of(isa, {1, 1, dims}, queries.data() + q * dims, documents.data() + d * dims).front();
          const float in_call = together[static_cast<size_t>(q * problem.num_documents + d)];
          std::ostringstream text;
          text.precision(9);
          text << isa_name(isa) << ", dims " << dims << ": score of query " << q << ", document " << d << " is " << in_call
               << " in a call and " << alone << " alone (tolerance: none)";
          CHECK(std::memcmp(&alone, &in_call, sizeof(float)) == 0, text.str());
        }
      }
    }
  }
}

}  // namespace
}  // namespace elasticlm
