// Elementary functions over the vector wrapper, in the namespace ELASTICLM_ISA_NAMESPACE that the simd header
// which includes this file names. No include guard: each simd header includes it once.
//
// The coefficients come from scripts/derive-vector-math.mjs; the errors named here are measured against long
// double by native/test/vector_math_test.cpp. Constants are not `inline`, which would give them a symbol that
// objects of several instruction sets share.

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {

constexpr float kExp2[] = {0.693147182f,   0.240226507f,   0.0555035695f,
                           0.00961808302f, 0.00133908633f, 0.000154531634f};
// On [1, 2), for results that are rounded to bf16.
constexpr float kExp2Short[] = {0.449301422f, 0.483840227f, -0.0122086154f, 0.0789672583f};
constexpr float kExp2Step = 8388608.0f;  // 2^23
constexpr float kTanhSmall[] = {-0.333333284f, 0.133327693f, -0.0538509078f, 0.0209971797f, -0.00609671418f};
constexpr float kNormalTailStep = 0.375f;  // distance between the centres of two table intervals
constexpr float kNormalTailLimit = 5.8f;   // the table's end, short of 15.5 steps
// One row per power: each is read with one table look-up.
alignas(64) constexpr float kNormalTail[6][16] = {
    {0.500000000f, 0.353830248f, 0.226627350f, 0.130294517f, 0.0668072030f, 0.0303963590f, 0.0122244712f,
     0.00433244789f, 0.00134989817f, 0.000369078713f, 0.0000884174660f, 0.0000185368226f, 0.00000339770349f,
     5.44051034e-7f, 7.60516770e-8f, 5.95975536e-9f},
    {-0.149603352f, -0.139445662f, -0.112926535f, -0.0794537440f, -0.0485690981f, -0.0257948525f,
     -0.0119023696f, -0.00477156788f, -0.00166194316f, -0.000502919604f, -0.000132223402f, -0.0000302026783f,
     -0.00000599390796f, -0.00000103348020f, -1.54818110e-7f, -2.01439470e-8f},
    {-4.58179237e-8f, 0.00980451703f, 0.0158799980f, 0.0167596471f, 0.0136601226f, 0.00906863902f,
     0.00502140867f, 0.00234853546f, 0.000934832380f, 0.000318234932f, 0.0000929566158f, 0.0000233537921f,
     0.00000505516664f, 9.44033161e-7f, 1.52249669e-7f, 2.12321627e-8f},
    {0.00350669981f, 0.00280863466f, 0.00115795061f, -0.000494615524f, -0.00142290245f, -0.00152086292f,
     -0.00113329187f, -0.000658778241f, -0.000311617448f, -0.000122475874f, -0.0000404793936f,
     -0.0000113362794f, -0.00000270392479f, -5.51311302e-7f, -9.63504334e-8f, -1.45562451e-8f},
    {-0.00000128568297f, -0.000325804605f, -0.000450453692f, -0.000339276245f, -0.000120737808f,
     0.0000533461280f, 0.000120332094f, 0.000106763458f, 0.0000658448989f, 0.0000314946046f, 0.0000121905841f,
     0.00000390159721f, 0.00000104564879f, 2.36593749e-7f, 4.54507294e-8f, 7.40347117e-9f},
    {-0.0000722323675f, -0.0000497470282f, 9.57080942e-7f, 0.0000388484987f, 0.0000433037094f,
     0.0000243677969f, 0.00000352748361f, -0.00000709600135f, -0.00000818328499f, -0.00000534052924f,
     -0.00000254765109f, -9.56192707e-7f, -2.91785767e-7f, -7.37088470e-8f, -1.55868509e-8f, -2.48138354e-9f},
};
// The same with two powers of u fewer, for results that are rounded to bf16.
alignas(64) constexpr float kNormalTailShort[4][16] = {
    {0.500000060f, 0.353832781f, 0.226630881f, 0.130297169f, 0.0668081418f, 0.0303959418f, 0.0122235296f,
     0.00433161343f, 0.00134938397f, 0.000368832931f, 0.0000883224056f, 0.0000185064255f, 0.00000338956488f,
     5.42211410e-7f, 7.56986651e-8f, 5.95086425e-9f},
    {-0.149605617f, -0.139445275f, -0.112926543f, -0.0794540495f, -0.0485694371f, -0.0257950444f,
     -0.0119023966f, -0.00477151247f, -0.00166187913f, -0.000502877869f, -0.000132203510f, -0.0000301952205f,
     -0.00000599163332f, -0.00000103290597f, -1.54696792e-7f, -2.06376143e-8f},
    {0.0000206710083f, 0.00972303748f, 0.0157673527f, 0.0166748129f, 0.0136299450f, 0.00908199046f,
     0.00505150249f, 0.00237522973f, 0.000951292459f, 0.000326106499f, 0.0000960028192f, 0.0000243285158f,
     0.00000531633486f, 0.00000100311127f, 1.63595715e-7f, 2.26851604e-8f},
    {0.00345575414f, 0.00279619545f, 0.00115819124f, -0.000484899996f, -0.00141207420f, -0.00151477079f,
     -0.00113241107f, -0.000660553167f, -0.000313663622f, -0.000123810969f, -0.0000411161855f,
     -0.0000115752409f, -0.00000277683171f, -5.69725046e-7f, -1.00243504e-7f, -1.24009238e-8f},
};

// 2^r for |r| <= 1/2.
ELASTICLM_INLINE Vec exp2_fraction(Vec r) {
  Vec p = broadcast(kExp2[5]);
#pragma GCC unroll 5
  for (int k = 4; k >= 0; --k) p = fma(p, r, broadcast(kExp2[k]));
  return fma(p, r, broadcast(1.0f));
}

// 2^x of each, for x < 128, relative error below 1e-7; 2^0 is 1. Results below 2^-125 may be 0, so -inf gives
// 0; NaN stays NaN. Step by step for all, so that none waits for another's last result.
template <int kCount>
ELASTICLM_INLINE void exp2(Vec (&x)[kCount]) {
  Vec n[kCount];
  Vec p[kCount];
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) {
    x[i] = max(broadcast(kMinPower), x[i]);
    n[i] = round(x[i]);
    x[i] = x[i] - n[i];
    p[i] = broadcast(kExp2[5]);
  }
#pragma GCC unroll 5
  for (int k = 4; k >= 0; --k) {
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) p[i] = fma(p[i], x[i], broadcast(kExp2[k]));
  }
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) x[i] = scale_by_power(fma(p[i], x[i], broadcast(1.0f)), n[i]);
}

// 2^(x / kExp2Step) of each, for x < 127 kExp2Step, relative error below 1e-4, in half the time: x in whole
// numbers is nearly the bits of the result. Results below 2^-126 become something from 0 to that, so does
// what -inf and NaN give.
template <int kCount>
ELASTICLM_INLINE void exp2_steps(Vec (&x)[kCount]) {
  Power power[kCount];
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) {
    power[i] = split_power(max(x[i], broadcast(-126.0f * kExp2Step)));
    x[i] = fma(broadcast(kExp2Short[3]), power[i].mantissa, broadcast(kExp2Short[2]));
  }
#pragma GCC unroll 2
  for (int k = 1; k >= 0; --k) {
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) x[i] = fma(x[i], power[i].mantissa, broadcast(kExp2Short[k]));
  }
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) x[i] = join_power(x[i], power[i]);
}

// e^x, relative error below 1.2e-7; e^0 is 1. Too large results are infinite, below 2^-125 they may be 0.
ELASTICLM_INLINE Vec exp(Vec x) {
  // x = n ln 2 + s. ln 2 in two parts: the first has 11 bits, so that n times it is exact.
  const Vec clamped = min(broadcast(89.0f), max(broadcast(kMinPower * 0.69314718f), x));
  const Vec n = round(clamped * broadcast(1.44269504f));
  Vec s = fnma(n, broadcast(0.693359375f), clamped);
  s = fnma(n, broadcast(-2.12194440e-4f), s);
  return scale_by_power(exp2_fraction(s * broadcast(1.44269504f)), n);
}

// Q(a) = 1 - Φ(a) for a in [0, kNormalTailLimit]. `table`: Q around 16 centres, one row per power.
template <int kPowers>
ELASTICLM_INLINE Vec normal_tail(Vec a, const float (&table)[kPowers][16]) {
  const Vec steps = a * broadcast(1.0f / kNormalTailStep);
  const Vec shift =
      broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds, and leaves the interval in the low bits
  const Vec interval = steps + shift;
  const Vec u = steps - (interval - shift);
  Vec tail = lookup16(table[kPowers - 1], interval);
#pragma GCC unroll 5
  for (int k = kPowers - 2; k >= 0; --k) tail = fma(tail, u, lookup16(table[k], interval));
  return tail;
}

// x Φ(x) = max(x, 0) - |x| Q(|x|), so that nothing cancels for x > 0 and small x keep their relative error.
template <int kPowers>
ELASTICLM_INLINE Vec gelu_of(Vec x, const float (&table)[kPowers][16]) {
  const Vec a = min(abs(x), broadcast(kNormalTailLimit));
  return fnma(a, normal_tail(a, table), max(zero(), x));
}

// x Φ(x) with the exact normal distribution (erf), absolute error below 1e-7 max(1, |x|).
ELASTICLM_INLINE Vec gelu(Vec x) { return gelu_of(x, kNormalTail); }

// The same with an absolute error below 1e-5 max(1, |x|), a third cheaper.
ELASTICLM_INLINE Vec gelu_near(Vec x) { return gelu_of(x, kNormalTailShort); }

// gelu(x), the same bits, and in `slope` its derivative Φ(x) + x φ(x), absolute error below 2e-7. With R(a) =
// Q(a) - a φ(a), the derivative at -a is R(a) and at a 1 - R(a). φ(a) = 2^(-a² / (2 ln 2) - log2 √(2π)).
ELASTICLM_INLINE Vec gelu_with_slope(Vec x, Vec& slope) {
  const Vec a = min(abs(x), broadcast(kNormalTailLimit));
  const Vec tail = normal_tail(a, kNormalTail);
  // Behind 13 nothing is left of a φ(a), and infinity would be a bad factor. NaN stays.
  const Vec b = min(broadcast(13.0f), abs(x));
  Vec density[1] = {fnma(b * b, broadcast(0.721347520f), broadcast(-1.32574806f))};
  exp2(density);
  const Vec rest = fnma(b, density[0], tail);
  slope = select_less(x, zero(), rest, broadcast(1.0f) - rest);
  return fnma(a, tail, max(zero(), x));
}

// Relative error below 1.5e-7; NaN stays NaN.
ELASTICLM_INLINE Vec tanh(Vec x) {
  const Vec a = abs(x);
  const Vec z = x * x;
  Vec p = broadcast(kTanhSmall[4]);
#pragma GCC unroll 4
  for (int k = 3; k >= 0; --k) p = fma(p, z, broadcast(kTanhSmall[k]));
  const Vec small = fma(x * z, p, x);
  const Vec one = broadcast(1.0f);
  const Vec large = one - broadcast(2.0f) / (exp(a + a) + one);
  return copy_sign(select_less(a, broadcast(0.625f), small, large), x);
}

}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE
