// Runs of neighbouring floats vector by vector, over the vector wrapper; the last vector may be a part of
// one.

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

// How a vector of a run is read and written: all of it, or its first `size` lanes (zero behind them).
struct WholeVec {
  ELASTICLM_INLINE Vec read(const float* p) const { return load(p); }
  ELASTICLM_INLINE void write(float* p, Vec a) const { store(p, a); }
};
struct PartVec {
  int64_t size;
  ELASTICLM_INLINE Vec read(const float* p) const { return load_first(p, size); }
  ELASTICLM_INLINE void write(float* p, Vec a) const { store_first(p, a, size); }
};

// use.operator()<kVecs>(i, vec) for neighbouring groups of vectors that cover [begin, end): kTogether whole
// ones from element i on, then single ones.
template <int kTogether, typename Use>
ELASTICLM_INLINE void for_vector_groups(int64_t begin, int64_t end, const Use& use) {
  int64_t i = begin;
  for (; i + kTogether * kLanes <= end; i += kTogether * kLanes) {
    use.template operator()<kTogether>(i, WholeVec{});
  }
  for (; i + kLanes <= end; i += kLanes) use.template operator()<1>(i, WholeVec{});
  if (i < end) use.template operator()<1>(i, PartVec{end - i});
}

// use(i, vec) for the vectors that cover [begin, end).
template <typename Use>
ELASTICLM_INLINE void for_vectors(int64_t begin, int64_t end, const Use& use) {
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) use(i, WholeVec{});
  if (i < end) use(i, PartVec{end - i});
}

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE
