/** Storage formats of checkpoints, as IEEE 754 and the bfloat16 format define them: independent of native code. */
const floats = new Float32Array(1);
const bits = new Uint32Array(floats.buffer);

function bitsOf(value: number): number {
  floats[0] = value;
  return bits[0] ?? 0;
}

function ofBits(pattern: number): number {
  bits[0] = pattern;
  return floats[0] ?? 0;
}

export function f16ToNumber(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Round to nearest, ties to even; for finite values in f16's range. */
export function numberToF16(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  const exponent = Math.max(Math.floor(Math.log2(magnitude || 2 ** -25)), -14);
  const unit = 2 ** (exponent - 10);
  const scaled = magnitude / unit;
  const low = Math.floor(scaled);
  const rest = scaled - low;
  const rounded = rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low;
  // `rounded` is below 2048 for subnormals and normals; carrying into the exponent is what adding does.
  return sign | (exponent === -14 && rounded < 1024 ? rounded : ((exponent + 14) << 10) + rounded);
}

export function bf16ToNumber(pattern: number): number {
  return ofBits(pattern << 16);
}

export function numberToBf16(value: number): number {
  const pattern = bitsOf(value);
  return (pattern + 0x7fff + ((pattern >>> 16) & 1)) >>> 16;
}
