// Derives the polynomial coefficients of native/kernels/cpu/vector_math.h and prints them as C++.
// Usage: node scripts/derive-vector-math.mjs
//
// Every fit interpolates at Chebyshev nodes, which is within a few per cent of the best polynomial for such smooth
// functions; in double precision, then rounded to f32. What the rounded coefficients achieve in f32 arithmetic is measured by
// native/test/vector_math_test.cpp.

const DIGITS = 9; // enough for an f32 to read back the same

/** Coefficients c[0..degree] of the polynomial through f at the Chebyshev nodes of [low, high]. */
function fit(f, low, high, degree) {
  const n = degree + 1;
  const rows = Array.from({ length: n }, (_, i) => {
    const x = (low + high) / 2 + ((high - low) / 2) * Math.cos((Math.PI * (i + 0.5)) / n);
    return [...Array.from({ length: n }, (_, k) => x ** k), f(x)];
  });
  for (let k = 0; k < n; k++) {
    const pivot = rows.slice(k).reduce((best, row) => (Math.abs(row[k]) > Math.abs(best[k]) ? row : best));
    rows.splice(rows.indexOf(pivot), 1);
    rows.splice(k, 0, pivot);
    for (let i = k + 1; i < n; i++) {
      const factor = rows[i][k] / rows[k][k];
      for (let j = k; j <= n; j++) rows[i][j] -= factor * rows[k][j];
    }
  }
  const c = new Array(n);
  for (let k = n - 1; k >= 0; k--) {
    let sum = rows[k][n];
    for (let j = k + 1; j < n; j++) sum -= rows[k][j] * c[j];
    c[k] = sum / rows[k][k];
  }
  return c;
}

/** The upper tail of the normal distribution, 1 - Φ(a) for a >= 0, to about 1e-16 of the density. */
function normalTail(a) {
  const density = Math.exp((-a * a) / 2) / Math.sqrt(2 * Math.PI);
  if (a < 3) {
    let term = a;
    let sum = a;
    for (let k = 1; Math.abs(term) > 1e-18; k++) sum += term *= (a * a) / (2 * k + 1);
    return 0.5 - density * sum;
  }
  let fraction = a;
  for (let k = 200; k >= 1; k--) fraction = a + k / fraction;
  return density / fraction;
}

const show = (value) => {
  const text = Math.fround(value).toPrecision(DIGITS);
  return `${/[.e]/.test(text) ? text : `${text}.0`}f`;
};
const showArray = (name, values) =>
  console.log(`constexpr float ${name}[] = {${values.map(show).join(', ')}};`);

// 2^r = 1 + r q(r) on [-1/2, 1/2]: exactly 1 at 0.
showArray(
  'kExp2',
  fit((r) => (r === 0 ? Math.LN2 : Math.expm1(r * Math.LN2) / r), -0.5, 0.5, 5),
);

// 2^(f - 1) on [1, 2), for results that are rounded to bf16: softmax weights, whose common factor cancels.
showArray(
  'kExp2Short',
  fit((f) => 2 ** (f - 1), 1, 2, 3),
);

// tanh(x) = x + x^3 q(x^2) for |x| <= 0.625. (tanh x - x) / x^3 by its series, which loses nothing near 0.
const tanhTail = (z) => {
  const terms = 24;
  // tanh x = x / (1 + z / (3 + z / (5 + ...))), so tanh x - x = -x t / (1 + t) with t = z / (3 + ...).
  let t = 2 * terms + 1;
  for (let k = terms - 1; k >= 1; k--) t = 2 * k + 1 + z / t;
  return -1 / (t + z);
};
showArray('kTanhSmall', fit(tanhTail, 0, 0.625 ** 2, 4));

// The normal tail around a = i w for i = 0 .. 15, as a polynomial in u = a / w - i in [-1/2, 1/2]. The last one is
// lowered by the tail's value at the clamp (3e-9), so that GELU has no step there.
const width = 0.375;
const limit = 5.8;
function showNormalTail(name, degree) {
  const table = Array.from({ length: 16 }, (_, i) => {
    if (i < 15) return fit((u) => normalTail((i + u) * width), i === 0 ? 0 : -0.5, 0.5, degree);
    const end = limit / width - 15;
    const quotient = fit(
      (u) => (normalTail((15 + u) * width) - normalTail(limit)) / (u - end),
      -0.5,
      end - 1e-3,
      degree - 1,
    );
    return Array.from({ length: degree + 1 }, (_, k) => (quotient[k - 1] ?? 0) - end * (quotient[k] ?? 0));
  });
  console.log(`alignas(64) constexpr float ${name}[${degree + 1}][16] = {`);
  for (let k = 0; k <= degree; k++) console.log(`    {${table.map((c) => show(c[k])).join(', ')}},`);
  console.log('};');
}
showNormalTail('kNormalTail', 5);
// For results that are rounded to bf16.
showNormalTail('kNormalTailShort', 3);
