/** Numeric comparison that says where it failed. */

interface Vector {
  readonly length: number;
  readonly [position: number]: number;
}

export interface WorstElement {
  position: number;
  actual: number;
  expected: number;
  error: number;
}

/** The element with the largest absolute difference; NaN counts as infinitely wrong. */
export function worstElement(actual: Vector, expected: Vector): WorstElement {
  if (actual.length !== expected.length) {
    throw new Error(`expected ${expected.length} elements, received ${actual.length}`);
  }
  let worst: WorstElement = { position: 0, actual: 0, expected: 0, error: -1 };
  for (let position = 0; position < actual.length; ++position) {
    const difference = Math.abs(actual[position]! - expected[position]!);
    const error = Number.isNaN(difference) ? Infinity : difference;
    if (error > worst.error) {
      worst = { position, actual: actual[position]!, expected: expected[position]!, error };
    }
  }
  return worst;
}

/** Fails with the worst coordinate, both values and the tolerance. `dims` makes the coordinate a row and a column. */
export function expectClose(actual: Vector, expected: Vector, tolerance: number, dims = actual.length): void {
  const worst = worstElement(actual, expected);
  if (worst.error <= tolerance) return;
  const place = `[${Math.floor(worst.position / dims)}, ${worst.position % dims}]`;
  throw new Error(
    `worst element ${place}: received ${worst.actual}, expected ${worst.expected}, ` +
      `difference ${worst.error} above the tolerance ${tolerance}`,
  );
}

function cosine(a: Float32Array, b: Float32Array): number {
  let [product, squaresA, squaresB] = [0, 0, 0];
  for (let i = 0; i < a.length; ++i) {
    product += a[i]! * b[i]!;
    squaresA += a[i]! * a[i]!;
    squaresB += b[i]! * b[i]!;
  }
  return product / Math.sqrt(squaresA * squaresB);
}

/** Cosines between rows of the same place. */
function rowCosines(a: Float32Array, b: Float32Array, dims: number): number[] {
  const row = (data: Float32Array, i: number): Float32Array => data.subarray(i * dims, (i + 1) * dims);
  return Array.from({ length: a.length / dims }, (_, i) => cosine(row(a, i), row(b, i)));
}

export function worstCosine(a: Float32Array, b: Float32Array, dims: number): number {
  return Math.min(...rowCosines(a, b, dims));
}

export function meanCosine(a: Float32Array, b: Float32Array, dims: number): number {
  const cosines = rowCosines(a, b, dims);
  return cosines.reduce((sum, value) => sum + value, 0) / cosines.length;
}
