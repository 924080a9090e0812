import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  documentText,
  readBeirCorpus,
  readBeirQrels,
  readBeirQueries,
  readGlue,
  readWikiQa,
  type GlueTask,
} from '../../lib/eval/index.js';
import { expectRejection } from '../support/expect-code.js';
import { all, DataFolder } from '../support/files.js';

let data: DataFolder;
let folder: string;

beforeEach(async () => {
  data = await DataFolder.create();
  folder = data.path;
});

afterEach(async () => {
  await data.remove();
});

function write(name: string, content: string | Uint8Array): Promise<void> {
  return data.write(name, content);
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
    expect(documentText({ title: 't', text: 'x' })).toBe('t x');
    expect(documentText({ title: '', text: 'x' })).toBe('x');
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
      ['query-id\tcorpus-id\tscore\nq1\td1\t1\t1\n', /at most 3 cells.*line 2.*received 4/],
      [
        'query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td1\t2\n',
        /relevance 1, as given before.*line 3.*received 2/,
      ],
    ] as const) {
      await write('qrels/test.tsv', content);
      await expectRejection(readBeirQrels(folder, 'test'), 'ELASTICLM_DATA_INVALID', reason);
    }
  });
});

describe('readBeirQrels()', () => {
  it('takes a judgment that is given twice alike once', async () => {
    await write('qrels/test.tsv', 'query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td1\t2\n');
    expect(await readBeirQrels(folder, 'test')).toEqual(new Map([['q1', new Map([['d1', 2]])]]));
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

  it('reads a byte order mark, line ends of Windows, quotes and empty lines as the official readers do', async () => {
    await write('dev.tsv', '\uFEFFsentence\tlabel\r\n"quoted" text"\t1\r\n\r\n\t0\r\n "x\t1');
    expect(await all(readGlue('sst2', folder))).toEqual([
      { texts: '"quoted" text"', target: 1 },
      { texts: '', target: 0 },
      { texts: ' "x', target: 1 },
    ]);
  });

  it("reads GLUE's own files of MRPC before those of the corpus, and compressed ones", async () => {
    const header = 'Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n';
    await write('msr_paraphrase_test.txt', `${header}0\t1\t2\tcorpus\tb\n`);
    await write('msr_paraphrase_train.txt', `${header}0\t1\t2\ttrain\tb\n`);
    expect(await all(readGlue('mrpc', folder))).toEqual([{ texts: ['corpus', 'b'], target: 0 }]);
    expect(await all(readGlue('mrpc', folder, 'train'))).toEqual([{ texts: ['train', 'b'], target: 0 }]);
    await write('dev.tsv.gz', gzipSync(`${header}1\t1\t2\tglue\tb\n`));
    expect(await all(readGlue('mrpc', folder))).toEqual([{ texts: ['glue', 'b'], target: 1 }]);
  });

  it('reads the matched and the mismatched examples of MNLI as splits of their own, and its train split', async () => {
    for (const split of ['train', 'dev_matched', 'dev_mismatched']) {
      await write(`${split}.tsv`, `index\tsentence1\tsentence2\tgold_label\n0\t${split}\tb\tneutral\n`);
    }
    const expectFirst = async (split: string | undefined, text: string): Promise<void> => {
      expect(await all(readGlue('mnli', folder, split))).toEqual([{ texts: [text, 'b'], target: 1 }]);
    };
    await expectFirst(undefined, 'dev_matched');
    await expectFirst('dev_mismatched', 'dev_mismatched');
    await expectFirst('train', 'train');
  });

  it('leaves out broken rows of QQP, as its official readers do, and of no other task', async () => {
    const header = 'id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n';
    await write(
      'QQP/train.tsv',
      `${header}0\t1\t2\tbegins\nends\tb\t1\n1\t3\t4\ta\tb\t0\n2\t5\t6\ta\tb\tc\t1\n`,
    );
    expect(await all(readGlue('qqp', folder, 'train'))).toEqual([{ texts: ['a', 'b'], target: 0 }]);
    await write('dev.tsv', 'index\tquestion\tsentence\tlabel\n0\tq\n');
    await expectRejection(all(readGlue('qnli', folder)), 'ELASTICLM_DATA_INVALID', /"sentence".*line 2/);
  });

  it.each<[GlueTask, string, RegExp]>([
    ['sst2', 'sentence\tlabel\na\tb\t1\n', /at most 2 cells.*line 2.*received 3/],
    ['cola', 's\t1\t\ta\tb\n', /at most 4 cells.*line 1.*received 5/],
    ['cola', 's\t1\n', /"sentence".*line 1.*2 cells/],
    ['rte', 'sentence1\tsentence2\na\tb\n', /header with the column "label".*line 1/],
    ['rte', 'sentence1\tsentence2\tlabel\na\tb\tneutral\n', /entailment, not_entailment.*line 2/],
    [
      'mnli',
      'sentence1\tsentence2\tgold_label\na\tb\t-\n',
      /entailment, neutral, contradiction.*line 2.*"-"/,
    ],
    ['mnli', 'sentence1\tsentence2\tgold_label\na\tb\t3\n', /contradiction.*line 2.*"3"/],
    ['stsb', 'sentence1\tsentence2\tscore\na\tb\tgood\n', /number in column "score".*line 2/],
    ['stsb', 'sentence1\tsentence2\tscore\na\tb\tInfinity\n', /number in column "score".*line 2/],
  ])('refuses a wrong row of %s: %j', async (task, content, reason) => {
    await write(task === 'mnli' ? 'dev_matched.tsv' : 'dev.tsv', content);
    await expectRejection(all(readGlue(task, folder)), 'ELASTICLM_DATA_INVALID', reason);
  });

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

  it('reads the official file', async () => {
    const header = 'QuestionID\tQuestion\tDocumentID\tDocumentTitle\tSentenceID\tSentence\tLabel\r\n';
    await write(
      'WikiQA-dev.tsv',
      `${header}Q1\tq\tD1\tTitle\tD1-0\tsays "a"\t0\r\nQ1\tq\tD1\tTitle\tD1-1\tb\t1\r\n`,
    );
    const candidates = [
      { sentence: 'says "a"', answers: false },
      { sentence: 'b', answers: true },
    ];
    expect(await all(readWikiQa(folder))).toEqual([{ question: 'q', candidates }]);
  });

  it('refuses another label than 0 and 1', async () => {
    await write('dev.tsv', 'question\tsentence\tlabel\nq1\ta\t2\n');
    await expectRejection(all(readWikiQa(folder)), 'ELASTICLM_DATA_INVALID', /line 2/);
  });
});
