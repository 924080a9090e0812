/** The commands as a shell runs them: exit codes, what goes to stdout and what to stderr. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { errorCodes } from '../../lib/index.js';
import { configOf, evenLevels, writeTinyCheckpoint } from '../support/checkpoint.js';
import { cliArguments, parseJsonLines, runCli, runCliForJson } from '../support/run-cli.js';

const commands = [
  'info',
  'elasticize',
  'embed',
  'rank',
  'search',
  'eval',
  'finetune',
  'distill',
  'chart',
  'bench',
  'profile',
  'simulate',
  'serve',
];
/** Each test starts one to five processes, which a busy machine takes its time over. */
vi.setConfig({ testTimeout: 120_000 });

const documents = ['the quick brown fox', 'a lazy dog', 'the city of the river', 'gene of a cell'];

let scratch: string;
let encoder: string;
let ranker: string;
let texts: string;
let collection: string;

function inScratch(...parts: string[]): string {
  return path.join(scratch, ...parts);
}

function writeCollection(folder: string): void {
  const lines = (items: object[]): string => items.map((item) => `${JSON.stringify(item)}\n`).join('');
  mkdirSync(path.join(folder, 'qrels'), { recursive: true });
  writeFileSync(
    path.join(folder, 'corpus.jsonl'),
    lines(documents.map((text, i) => ({ _id: `d${i}`, title: '', text }))),
  );
  writeFileSync(path.join(folder, 'queries.jsonl'), lines([{ _id: 'q', text: 'fox' }]));
  writeFileSync(path.join(folder, 'qrels', 'test.tsv'), 'query-id\tcorpus-id\tscore\nq\td0\t1\n');
}

beforeAll(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'elasticlm-cli-'));
  encoder = inScratch('encoder');
  ranker = inScratch('ranker');
  texts = inScratch('texts.txt');
  collection = inScratch('collection');
  // Positions for the longest sequence of a ragged batch of the bench.
  writeTinyCheckpoint(encoder, { maxPositions: 128, elastic: evenLevels(configOf(), [0.5]) });
  writeTinyCheckpoint(ranker, { labels: 1 });
  writeFileSync(texts, `${documents.join('\n')}\n`);
  writeCollection(collection);
});

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

describe('elasticlm --help', () => {
  it.each([[], ...commands.map((command) => [command])])(
    '%s explains itself on stdout and ends with 0',
    async (...command) => {
      const { code, stdout, stderr } = await runCli([...command, '--help']);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toContain(`Usage: elasticlm${command.length === 0 ? '' : ` ${command[0]!}`}`);
      if (command.length > 0) expect(stdout).toContain('--json');
    },
  );

  it('lists every command', async () => {
    const { stdout } = await runCli(['--help']);
    for (const command of commands) expect(stdout).toMatch(new RegExp(`^  ${command} `, 'm'));
  });
});

describe('usage errors', () => {
  it.each<[string, string[]]>([
    ['no command', []],
    ['a command that there is not', ['distort']],
    ['an option that there is not', ['info', 'model', '--fast']],
    ['a missing argument', ['info']],
    ['an argument too many', ['info', 'one', 'two']],
    ['a level above 1', ['embed', 'model', '--level', '1.5']],
    ['a level that is no number', ['embed', 'model', '--level', 'half']],
    ['no threads', ['info', 'model', '--threads', '0']],
    ['an unknown kind', ['embed', 'model', '--kind', 'title']],
    ['an unknown task', ['eval', 'model', '--data', 'x', '--task', 'anagrams']],
    ['no data', ['eval', 'model', '--task', 'sts']],
    ['no query', ['search', 'model', 'paths']],
    ['a shape that is none', ['bench', 'model', '--shapes', '8']],
    ['a precision that is none', ['bench', 'model', '--precision', 'f31']],
    ['a seed that is no number', ['elasticize', 'model', 'out', '--text', 'x', '--seed', 'one']],
  ])('%s ends with 2, says so on stderr and prints nothing', async (_, args) => {
    const { code, stdout, stderr } = await runCli(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/error:|Usage:/);
    expect(stderr).not.toMatch(/\n\s+at /);
  });
});

describe('failures', () => {
  it.each<[string, string, () => string[]]>([
    ['a checkpoint that is not there', 'ELASTICLM_FILE_NOT_FOUND', () => ['info', inScratch('none')]],
    [
      'a level that the checkpoint lacks',
      'ELASTICLM_LEVEL_UNKNOWN',
      () => ['embed', encoder, texts, '--level', '0.3'],
    ],
    [
      'such a level before indexing',
      'ELASTICLM_LEVEL_UNKNOWN',
      () => ['search', encoder, scratch, '--query', 'x', '--level', '0.3'],
    ],
    [
      'a precision that the cpu lacks',
      'ELASTICLM_PRECISION_UNSUPPORTED',
      () => ['bench', encoder, '--precision', 'f16'],
    ],
    [
      'a length beyond the positions',
      'ELASTICLM_ARGUMENT_INVALID',
      () => ['embed', encoder, texts, '--max-length', '9999'],
    ],
    [
      'a text file that is not there',
      'ELASTICLM_FILE_UNREADABLE',
      () => ['embed', encoder, inScratch('none')],
    ],
    ['a folder for a text file', 'ELASTICLM_FILE_UNREADABLE', () => ['embed', encoder, scratch]],
    ['ranking with an encoder', 'ELASTICLM_HEAD_MISSING', () => ['rank', encoder, 'fox', texts]],
    ['searching nothing', 'ELASTICLM_ARGUMENT_INVALID', () => ['search', encoder, '--query', 'fox']],
    [
      'an output that is in use',
      'ELASTICLM_ARGUMENT_INVALID',
      () => ['elasticize', encoder, scratch, '--text', texts],
    ],
    [
      'a collection that is not there',
      'ELASTICLM_FILE_NOT_FOUND',
      () => ['eval', encoder, '--task', 'retrieval', '--data', scratch],
    ],
  ])('%s ends with 1 and %s on stderr', async (_, errorCode, args) => {
    const { code, stdout, stderr } = await runCli([...args(), '--json']);
    expect({ code, stdout }, stderr).toEqual({ code: 1, stdout: '' });
    expect(errorCodes).toContain(errorCode);
    expect(stderr).toMatch(new RegExp(`^elasticlm: ${errorCode}: expected `));
    expect(stderr.trimEnd().split('\n'), 'one line, no stack').toHaveLength(1);
  });

  it('name the code of an environment variable that is wrong', async () => {
    const env = { ...process.env, ELASTICLM_ISA: 'abacus' };
    const { code, stderr } = await runCli(['info', encoder], { env });
    expect(code, stderr).toBe(1);
    expect(stderr).toContain('ELASTICLM_ISA_UNSUPPORTED');
  });
});

describe('results', () => {
  it('info: what the checkpoint holds and what runs it', async () => {
    const [facts] = await runCliForJson<{ isa: string; levels: { level: number }[] }>(['info', encoder]);
    expect(facts).toMatchObject({ backend: 'cpu', precision: 'f32', config: { numLayers: 2 } });
    expect(facts!.levels.map(({ level }) => level)).toEqual([1, 0.5]);
    const { stdout } = await runCli(['info', encoder]);
    expect(stdout).toContain(facts!.isa);
    expect(stdout).toContain('compute');
  });

  it('embed: one vector per line that is not blank, from a file and from standard input', async () => {
    const input = `${documents[0]!}\r\n\n  \n${documents[1]!}`;
    const results = await runCliForJson<{ text: string; level: number; vector: number[] }>(
      ['embed', encoder, '--level', '0.5'],
      { input },
    );
    expect(results.map(({ text, level }) => [text, level])).toEqual([
      [documents[0], 0.5],
      [documents[1], 0.5],
    ]);
    for (const { vector } of results) expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
    const fromFile = await runCliForJson<{ vector: number[] }>(['embed', encoder, texts, '--level', '0.5']);
    expect(fromFile.slice(0, 2).map(({ vector }) => vector)).toEqual(results.map(({ vector }) => vector));
  });

  it('embed: keeps a line separator of Unicode inside its text', async () => {
    const [result, ...others] = await runCliForJson<{ text: string }>(['embed', encoder], {
      input: 'a\u2028dog\n',
    });
    expect([result!.text, others]).toEqual(['a\u2028dog', []]);
  });

  it('embed: nothing for nothing', async () => {
    expect(await runCliForJson(['embed', encoder], { input: '' })).toEqual([]);
  });

  it('rank: falling scores with the line of each document', async () => {
    const input = `${documents[0]!}\n\n${documents[1]!}\n${documents[2]!}\n`;
    interface Ranked {
      index: number;
      line: number;
      score: number;
      document: string;
    }
    const results = await runCliForJson<Ranked>(['rank', ranker, 'fox', '--top-k', '2'], { input });
    expect(results).toHaveLength(2);
    expect(results[0]!.score).toBeGreaterThanOrEqual(results[1]!.score);
    for (const { index, line, document } of results) {
      expect(document).toBe(documents[index]);
      expect(line).toBe([1, 3, 4][index]);
    }
  });

  it('search: builds an index from Markdown, then searches the stored one', async () => {
    const folder = inScratch('docs');
    const index = inScratch('docs.index');
    mkdirSync(folder);
    writeFileSync(path.join(folder, 'a.md'), '# Fox\n\nthe quick brown fox\n\n# Dog\n\na lazy dog\n');
    const query = ['--query', 'quick fox', '--query', 'lazy dog', '--index', index];
    interface Answer {
      query: string;
      level: number;
      indexLevel?: number;
      hits: { id: string }[];
    }
    const built = await runCliForJson<Answer>(['search', encoder, folder, ...query]);
    expect(built.map(({ query: text, level }) => [text, level])).toEqual([
      ['quick fox', 1],
      ['quick fox', 0.5],
      ['lazy dog', 1],
      ['lazy dog', 0.5],
    ]);
    expect(built[0]).toMatchObject({ indexLevel: 1 });
    expect(built[0]!.hits[0]!.id).toMatch(/a\.md#(Fox|Dog)$/);
    const stored = await runCliForJson<Answer>(['search', encoder, ...query]);
    expect(stored.map(({ hits }) => hits)).toEqual(built.map(({ hits }) => hits));
    expect(stored[0], 'an index does not say its level').not.toHaveProperty('indexLevel');
  });

  it('eval: the metrics of each level', async () => {
    const args = ['eval', encoder, '--task', 'retrieval', '--data', collection, '--index-level', '1'];
    const results = await runCliForJson<Record<string, number>>(args);
    expect(results.map(({ level, indexLevel, queries }) => [level, indexLevel, queries])).toEqual([
      [1, 1, 1],
      [0.5, 1, 1],
    ]);
    for (const name of ['ndcg@10', 'mrr@10', 'recall@100', 'documentsPerSecond', 'tokensPerSecond']) {
      expect(results[0]).toHaveProperty([name], expect.any(Number));
    }
    const table = await runCli(args);
    expect(table.stdout).toContain('ndcg@10');
  });

  it('bench: one point per shape and level', async () => {
    const args = ['bench', encoder, '--shapes', '1x8,ragged2', '--threads', '1', '--level', '0.5'];
    const results = await runCliForJson<Record<string, number | string>>(args);
    expect(results.map(({ shape, level, threads }) => [shape, level, threads])).toEqual([
      ['1x8', 0.5, 1],
      ['ragged2', 0.5, 1],
    ]);
    for (const { medianMs } of results) expect(medianMs).toBeGreaterThan(0);
  });

  it('bench: what ran and how long it took, for every precision, shape and level', async () => {
    const args = ['bench', encoder, '--shapes', '2x4,1x1', '--precision', 'f32,auto', '--threads', '2'];
    const results = await runCliForJson<Record<string, number | string>>(args);
    expect(results.map(({ shape, level }) => `${shape} ${level}`)).toEqual(
      ['f32', 'auto'].flatMap(() => ['2x4 1', '2x4 0.5', '1x1 1', '1x1 0.5']),
    );
    const number = expect.any(Number) as unknown;
    const text = expect.any(String) as unknown;
    for (const result of results) {
      expect(result).toEqual({
        shape: text,
        level: number,
        precision: 'f32',
        threads: 2,
        medianMs: number,
        p95Ms: number,
        tokensPerSecond: number,
        gflops: number,
        backend: 'cpu',
        isa: text,
      });
      expect(result['p95Ms']).toBeGreaterThanOrEqual(result['medianMs'] as number);
      const tokens = result['shape'] === '2x4' ? 8 : 1;
      expect(result['tokensPerSecond']).toBeCloseTo((tokens / (result['medianMs'] as number)) * 1000, 3);
    }
  });

  it('bench: a table for people, of the standard shapes', async () => {
    const { code, stdout } = await runCli(['bench', encoder, '--level', '0.5']);
    expect(code).toBe(0);
    for (const shape of ['1x16', '1x32', '1x128', '8x128', 'ragged32'])
      expect(stdout).toContain(` ${shape} `);
  });

  it('elasticize: a checkpoint that the other commands read', async () => {
    const output = inScratch('elastic');
    const args = ['elasticize', ranker, output, '--text', texts, '--levels', '1,0.5,0.25'];
    const [result] = await runCliForJson<{ examples: number; levels: { level: number }[] }>(args);
    expect(result!.examples).toBe(documents.length);
    const [facts] = await runCliForJson<{ levels: { level: number }[] }>(['info', output]);
    expect(facts!.levels.map(({ level }) => level)).toEqual([1, 0.5, 0.25]);
    expect((await runCli(args)).code, 'an output that is there').toBe(1);
    expect((await runCli([...args, '--overwrite'])).code).toBe(0);
  });
});

describe('a reader that closes early', () => {
  it('ends the command with 0 and no complaint', async () => {
    const child = spawn(process.execPath, [...cliArguments, 'embed', encoder, '--json'], { stdio: 'pipe' });
    let stderr = '';
    child.stderr.on('data', (part: Buffer) => (stderr += part.toString()));
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
    child.stdin.on('error', () => undefined);
    child.stdin.end(`${documents[0]!}\n`.repeat(5000));
    const begin = await new Promise<Buffer>((resolve) => child.stdout.once('data', resolve));
    child.stdout.destroy();
    expect(await ended, stderr).toBe(0);
    expect(stderr).toBe('');
    const [whole] = begin.toString('utf8').split('\n');
    expect(parseJsonLines<{ text: string }>(`${whole!}\n`)[0]!.text).toBe(documents[0]);
  });
});
