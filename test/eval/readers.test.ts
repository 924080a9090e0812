import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  documentText,
  readBeirCorpus,
  readBeirQrels,
  readBeirQueries,
  readGlue,
  readWikiQa,
} from '../../lib/eval/index.js';
import { expectRejection } from '../support/expect-code.js';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'elasticlm-eval-'));
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

async function write(name: string, content: string | Uint8Array): Promise<void> {
  const path = join(folder, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

describe('readBeirCorpus()', () => {
  it('keeps U+2028, which some line readers split at, inside a text', async () => {
    await write(
      'corpus.jsonl',
      '{"_id": "1", "title": "t", "text": "a\u2028b\u2029c\u0085d"}\r\n\n{"_id": "2", "text": "x"}',
    );
    expect(await all(readBeirCorpus(folder))).toEqual([
      { id: '1', title: 't', text: 'a\u2028b\u2029c\u0085d' },
      { id: '2', title: '', text: 'x' },
    ]);
  });

  it('reads lines and characters that lie across the pieces of a file', async () => {
    const texts = [70_000, 65_535, 1, 200_000].map((length) => 'é'.repeat(length));
    await write(
      'corpus.jsonl',
      texts.map((text, idx) => JSON.stringify({ _id: String(idx), text })).join('\n'),
    );
    expect((await all(readBeirCorpus(folder))).map(({ text }) => text)).toEqual(texts);
  });

  it('names file and line of what is wrong', async () => {
    const good = '{"_id": "1", "text": "x"}\n';
    for (const [line, reason] of [
      ['{"_id": "2"', /one JSON object/],
      ['[]', /one JSON object/],
      ['{"_id": 2, "text": ""}', /a string in "_id".*received 2/],
      ['{"_id": "2"}', /a string in "text".*none/],
      ['{"_id": "2", "text": "x", "title": null}', /a string in "title".*null/],
      ['{"_id": "1", "text": "x"}', /"1" again/],
    ] as const) {
      await write('corpus.jsonl', good + line);
      const error = await expectRejection(all(readBeirCorpus(folder)), 'ELASTICLM_DATA_INVALID', reason);
      expect(error.message).toContain(`line 2 of ${join(folder, 'corpus.jsonl')}`);
    }
  });

  it('refuses bytes that are not UTF-8', async () => {
    await write('corpus.jsonl', Buffer.from([0x7b, 0xff, 0x7d]));
    await expectRejection(all(readBeirCorpus(folder)), 'ELASTICLM_DATA_INVALID', /UTF-8.*line 1/);
  });

  it('says when there is no such file, or it cannot be read', async () => {
    await expectRejection(all(readBeirCorpus(folder)), 'ELASTICLM_FILE_NOT_FOUND', /corpus\.jsonl/);
    await mkdir(join(folder, 'corpus.jsonl'));
    await expectRejection(all(readBeirCorpus(folder)), 'ELASTICLM_FILE_UNREADABLE', /corpus\.jsonl/);
  });
});

describe('documentText()', () => {
  it('joins title and text by one space, and adds none to a text without a title', () => {
    expect(documentText({ id: '1', title: 't', text: 'x' })).toBe('t x');
    expect(documentText({ id: '1', title: '', text: 'x' })).toBe('x');
  });
});

describe('readBeirQueries(), readBeirQrels()', () => {
  it('read what BEIR writes', async () => {
    await write('queries.jsonl', '{"_id": "q1", "text": "who", "metadata": {}}\n');
    await write('qrels/test.tsv', 'query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t1\n');
    expect(await all(readBeirQueries(folder))).toEqual([{ id: 'q1', text: 'who' }]);
    expect(await readBeirQrels(folder, 'test')).toEqual(
      new Map([
        [
          'q1',
          new Map([
            ['d1', 2],
            ['d2', 0],
          ]),
        ],
        ['q2', new Map([['d1', 1]])],
      ]),
    );
  });

  it('name file and line of what is wrong', async () => {
    for (const [content, reason] of [
      ['', /header line.*line 1.*empty file/],
      ['q1\td1\t1\n', /header with the column "query-id".*line 1/],
      ['query-id\tcorpus-id\tscore\nq1\td1\n', /column "score".*line 2.*2 cells/],
      ['query-id\tcorpus-id\tscore\nq1\td1\tx\n', /number in column "score".*line 2/],
      ['query-id\tcorpus-id\tscore\nq1\td1\t\n', /number in column "score".*line 2/],
      ['query-id\tcorpus-id\tscore\nq1\td1\t0.5\n', /whole relevance.*line 2/],
    ] as const) {
      await write('qrels/test.tsv', content);
      await expectRejection(readBeirQrels(folder, 'test'), 'ELASTICLM_DATA_INVALID', reason);
    }
  });
});

describe('readGlue()', () => {
  const files = {
    sst2: ['SST-2/dev.tsv', 'sentence\tlabel\na "quoted start\t1\nb\t0\n'],
    mrpc: [
      'MRPC/msr_paraphrase_test.txt',
      '\uFEFFQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t1\t2\ta\tb\r\n',
    ],
    cola: ['CoLA/dev.tsv', 'gj04\t1\t\tfine\ncj99\t0\t*\tbad\n'],
    rte: [
      'RTE/dev.tsv',
      'index\tsentence1\tsentence2\tlabel\n0\ta\tb\tnot_entailment\n1\tc\td\tentailment\n',
    ],
    qnli: ['QNLI/dev.tsv', 'index\tquestion\tsentence\tlabel\n0\tq\ts\tentailment\n'],
    qqp: ['QQP/dev.tsv', 'id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\ta\tb\t1\n'],
    mnli: [
      'MNLI/dev_matched.tsv',
      'index\tsentence1\tsentence2\tlabel1\tgold_label\n0\ta\tb\tneutral\tcontradiction\n',
    ],
    stsb: ['STS-B/dev.tsv', 'index\tsentence1\tsentence2\tscore\n0\ta\tb\t4.750\n'],
  } as const;
  const expected = {
    sst2: [
      { texts: 'a "quoted start', target: 1 },
      { texts: 'b', target: 0 },
    ],
    mrpc: [{ texts: ['a', 'b'], target: 1 }],
    cola: [
      { texts: 'fine', target: 1 },
      { texts: 'bad', target: 0 },
    ],
    rte: [
      { texts: ['a', 'b'], target: 1 },
      { texts: ['c', 'd'], target: 0 },
    ],
    qnli: [{ texts: ['q', 's'], target: 0 }],
    qqp: [{ texts: ['a', 'b'], target: 1 }],
    mnli: [{ texts: ['a', 'b'], target: 2 }],
    stsb: [{ texts: ['a', 'b'], target: 4.75 }],
  } as const;

  for (const task of ['sst2', 'mrpc', 'cola', 'rte', 'qnli', 'qqp', 'mnli', 'stsb'] as const) {
    it(`reads the official format of ${task} from its own folder and from that of all tasks`, async () => {
      const [name, content] = files[task];
      await write(name, content);
      expect(await all(readGlue(task, folder))).toEqual(expected[task]);
      expect(await all(readGlue(task, join(folder, dirname(name))))).toEqual(expected[task]);
    });
  }

  it('refuses a label that the task does not have', async () => {
    for (const label of ['2', '-1', '0.5', 'maybe', '']) {
      await write('dev.tsv', `sentence\tlabel\na\t${label}\n`);
      await expectRejection(all(readGlue('sst2', folder)), 'ELASTICLM_DATA_INVALID', /line 2/);
    }
  });

  it('says which file it looked for', async () => {
    await expectRejection(
      all(readGlue('mrpc', folder)),
      'ELASTICLM_FILE_NOT_FOUND',
      /msr_paraphrase_test\.txt.*MRPC/,
    );
  });
});

describe('readWikiQa()', () => {
  it('gathers the rows of each question', async () => {
    await write('dev.tsv', 'question\tsentence\tlabel\nq1\ta\t0\nq1\tb\t1\nq2\tc\t0\n');
    expect(await all(readWikiQa(folder))).toEqual([
      {
        question: 'q1',
        candidates: [
          { sentence: 'a', answers: false },
          { sentence: 'b', answers: true },
        ],
      },
      { question: 'q2', candidates: [{ sentence: 'c', answers: false }] },
    ]);
  });

  it('refuses another label than 0 and 1', async () => {
    await write('dev.tsv', 'question\tsentence\tlabel\nq1\ta\t2\n');
    await expectRejection(all(readWikiQa(folder)), 'ELASTICLM_DATA_INVALID', /line 2/);
  });
});
