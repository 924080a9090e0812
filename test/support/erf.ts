/**
 * The error function in float64. Up to 3 by its series Σ 2 x e^{-x²} (2x²)ⁿ / (√π (2n+1)!!), whose terms are all positive,
 * so that nothing cancels; beyond by the continued fraction of erfc, which converges fast there.
 */
export function erf(x: number): number {
  const magnitude = Math.abs(x);
  if (magnitude > 6) return Math.sign(x); // erfc(6) is below 2^-53
  const square = magnitude * magnitude;
  const scale = Math.exp(-square) / Math.sqrt(Math.PI);
  if (magnitude <= 3) {
    let term = 2 * magnitude;
    let sum = term;
    for (let n = 1; term > sum * 1e-17; ++n) {
      term *= (2 * square) / (2 * n + 1);
      sum += term;
    }
    return Math.sign(x) * scale * sum;
  }
  let fraction = magnitude;
  for (let n = 60; n >= 1; --n) fraction = magnitude + n / 2 / fraction;
  return Math.sign(x) * (1 - scale / fraction);
}
