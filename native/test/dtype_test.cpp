#include "core/dtype.h"

#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "test/check.h"

namespace elasticlm::test {
namespace {

// A 16-bit format by its definition: sign, exponent, fraction.
struct Format {
  const char* name;
  int exponent_bits;
  int fraction_bits;
  float (*widen)(uint16_t);
  uint16_t (*narrow)(float);

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  uint16_t infinity() const { return static_cast<uint16_t>(((1 << exponent_bits) - 1) << fraction_bits); }
  bool is_nan(uint16_t bits) const { return (bits & 0x7fff) > infinity(); }

  double value(uint16_t bits) const {
    const int exponent = (bits & 0x7fff) >> fraction_bits;
    const int fraction = bits & ((1 << fraction_bits) - 1);
    const double magnitude =
        (bits & 0x7fff) == infinity() ? INFINITY
        : exponent == 0               ? std::ldexp(fraction, 1 - bias() - fraction_bits)
                        : std::ldexp((1 << fraction_bits) + fraction, exponent - bias() - fraction_bits);
    return bits & 0x8000 ? -magnitude : magnitude;
  }
};

constexpr Format kFormats[] = {{"f16", 5, 10, f16_to_f32, f32_to_f16},
                               {"bf16", 8, 7, bf16_to_f32, f32_to_bf16}};

std::string describe(const Format& format, uint32_t bits) {
  return std::string(format.name) + " of bits " + std::to_string(bits);
}

TEST_CASE("dtype: every 16-bit pattern widens to its exact value and narrows back to itself") {
  for (const Format& format : kFormats) {
    for (uint32_t pattern = 0; pattern <= 0xffff; ++pattern) {
      const uint16_t bits = static_cast<uint16_t>(pattern);
      const float wide = format.widen(bits);
      if (format.is_nan(bits)) {
        CHECK(std::isnan(wide), describe(format, bits) + " must stay NaN when widened");
        CHECK(format.is_nan(format.narrow(wide)), describe(format, bits) + " must stay NaN when narrowed");
        continue;
      }
      CHECK(wide == format.value(bits), describe(format, bits) + ": " + std::to_string(wide));
      CHECK(std::signbit(wide) == (bits >= 0x8000), describe(format, bits) + " loses its sign");
      CHECK(format.narrow(wide) == bits, describe(format, bits) + " does not come back");
    }
  }
}

TEST_CASE("dtype: between any two neighbours the nearer is taken, at the middle the even one") {
  for (const Format& format : kFormats) {
    for (uint16_t low = 0; low < format.infinity(); ++low) {
      const uint16_t high = static_cast<uint16_t>(low + 1);
      // The neighbour of the largest finite value is the next power of two, which means infinity.
      const double above =
          high == format.infinity()
              ? 2 * format.value(static_cast<uint16_t>(low & ~((1 << format.fraction_bits) - 1)))
              : format.value(high);
      const float middle = static_cast<float>((format.value(low) + above) / 2);
      CHECK(middle == (format.value(low) + above) / 2, "the middle must be an f32 value");
      for (const uint16_t sign : {uint16_t{0}, uint16_t{0x8000}}) {
        const float signed_middle = sign ? -middle : middle;
        CHECK(format.narrow(signed_middle) == (sign | (low % 2 == 0 ? low : high)),
              describe(format, low) + ": tie");
        CHECK(format.narrow(std::nextafter(signed_middle, 0.0f)) == (sign | low),
              describe(format, low) + ": below the tie");
        CHECK(format.narrow(std::nextafter(signed_middle, sign ? -INFINITY : INFINITY)) == (sign | high),
              describe(format, low) + ": above the tie");
      }
    }
  }
}

TEST_CASE("dtype: narrowing keeps infinities, overflows to them, and keeps every NaN a NaN") {
  for (const Format& format : kFormats) {
    CHECK(format.narrow(INFINITY) == format.infinity(), format.name);
    CHECK(format.narrow(-INFINITY) == (0x8000 | format.infinity()), format.name);
    CHECK(format.narrow(std::numeric_limits<float>::max()) == format.infinity(), format.name);
    CHECK(format.narrow(std::numeric_limits<float>::denorm_min()) == 0, format.name);
    CHECK(format.narrow(-0.0f) == 0x8000, format.name);
    for (const uint32_t nan : {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffffffffu}) {
      CHECK(format.is_nan(format.narrow(std::bit_cast<float>(nan))), describe(format, nan));
    }
  }
}

}  // namespace
}  // namespace elasticlm::test
