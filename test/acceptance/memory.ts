/** One copy of the weights serves every level: what loading and switching cost, in fresh processes. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parseJsonLines } from '../support/run-cli.js';
import { runProcess } from '../support/run-process.js';
import { elasticDefaultModel } from './support/elastic-checkpoint.js';
import type { MemoryUse } from './support/memory-use.js';
import { storeResult } from './support/result.js';

const calibrationExamples = 64;
const processes = 5;
const allowed = 1.01;

const program = fileURLToPath(new URL('support/memory-use.ts', import.meta.url));

/** Median of several fresh processes: pages of the runtime itself vary from one to the next. */
async function memoryUse(directory: string): Promise<MemoryUse> {
  const uses: MemoryUse[] = [];
  for (let i = 0; i < processes; ++i) {
    const args = ['--expose-gc', '--import', import.meta.resolve('tsx'), program, directory];
    const { code, stdout, stderr } = await runProcess(process.execPath, args);
    if (code !== 0) throw new Error(`memory-use ended with ${code ?? 'a signal'}: ${stderr}`);
    uses.push(...parseJsonLines<MemoryUse>(stdout));
  }
  return uses.sort((a, b) => a.usedBytes - b.usedBytes)[uses.length >> 1]!;
}

/** The same checkpoint with the level 1 alone. */
function withLevelOneOnly(directory: string): string {
  const copy = path.join(path.dirname(directory), 'level-one');
  cpSync(directory, copy, { recursive: true });
  const file = path.join(copy, 'elastic.json');
  const elastic = JSON.parse(readFileSync(file, 'utf8')) as { levels: unknown[] };
  writeFileSync(file, JSON.stringify({ ...elastic, levels: elastic.levels.slice(0, 1) }));
  return copy;
}

describe('memory of an elastic checkpoint', () => {
  it('is that of its level 1 plus at most 1%, and switching levels allocates nothing', async () => {
    await using checkpoint = await elasticDefaultModel(calibrationExamples);
    const levelOne = await memoryUse(withLevelOneOnly(checkpoint.directory));
    const allLevels = await memoryUse(checkpoint.directory);
    const report = JSON.stringify({ levelOne, allLevels });
    expect(allLevels.levels, report).toBeGreaterThan(1);
    expect(allLevels.weightBytes, report).toBeLessThanOrEqual(allowed * levelOne.weightBytes);
    expect(allLevels.usedBytes, report).toBeLessThanOrEqual(allowed * levelOne.usedBytes);
    for (const { arenaBytes, arenaBytesAfterSwitching, usedBytes, usedBytesAfterSwitching } of [
      levelOne,
      allLevels,
    ]) {
      expect(arenaBytesAfterSwitching, report).toBe(arenaBytes);
      expect(usedBytesAfterSwitching, report).toBeLessThanOrEqual(allowed * usedBytes);
    }
    storeResult('memory', { processes, levelOne, allLevels });
  });
});
