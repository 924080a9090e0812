/** What one core can do at most, measured by a small native program. */
import { execFileSync } from 'node:child_process';
import { nativeProgram } from '../native-program.js';
import type { BenchPrecision } from './options.js';

/** Names of the loops of bench/native/peak_bench.cpp. */
export type PeakName = BenchPrecision | 'avx2F32';

/** The loop that a forward on such kernels is to be compared with. */
export function peakNameOf(precision: BenchPrecision, isa: string): PeakName {
  return precision === 'f32' && isa === 'avx2' ? 'avx2F32' : precision;
}

/** GFLOP/s of one core, NaN where the processor lacks the instruction. Takes 50 ms. */
export function measurePeak(name: PeakName): number {
  const line = execFileSync(nativeProgram('peak_bench', ['peak.h']), [name], { encoding: 'utf8' });
  return (JSON.parse(line) as Record<string, number | null>)[name] ?? Number.NaN;
}
