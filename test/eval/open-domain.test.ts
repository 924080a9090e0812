/** Passages and questions of NQ and TriviaQA as their publishers write them. */
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readPassages, readQuestions } from '../../lib/eval/index.js';
import { expectRejection } from '../support/expect-code.js';
import { all, DataFolder } from '../support/files.js';

let folder: DataFolder;

beforeEach(async () => {
  folder = await DataFolder.create();
});

afterEach(async () => {
  await folder.remove();
});

describe('readPassages()', () => {
  const header = 'id\ttext\ttitle\n';

  it('reads cells as a csv writer leaves them: quoted, with doubled quotes, tabs and line ends inside', async () => {
    await folder.write(
      'psgs_w100.tsv',
      `\uFEFF${header}` +
        '1\t"Aaron (or ""Ahärôn"") is a prophet"\tAaron\r\n' +
        '2\tplain 5" text with "quotes" in it\t"A ""title"""\r\n' +
        '3\t"a\ttab, a line\r\n\r\nend"\t""\n' +
        '4\t"closed" and more\tx',
    );
    expect(await all(readPassages(folder.path))).toEqual([
      { id: '1', text: 'Aaron (or "Ahärôn") is a prophet', title: 'Aaron' },
      { id: '2', text: 'plain 5" text with "quotes" in it', title: 'A "title"' },
      { id: '3', text: 'a\ttab, a line\n\nend', title: '' },
      { id: '4', text: 'closed and more', title: 'x' },
    ]);
  });

  it('needs no header line, and takes another name and a compressed file', async () => {
    const passage = { id: '7', text: 'text', title: 'title' };
    await folder.write('passages.tsv', '7\ttext\ttitle\n');
    expect(await all(readPassages(folder.path))).toEqual([passage]);
    await folder.write('psgs_w100.tsv.gz', gzipSync('8\ttext\ttitle\n'));
    expect(await all(readPassages(folder.path))).toEqual([{ ...passage, id: '8' }]);
  });

  it.each<[string, string, RegExp]>([
    ['a missing title', '2\ttext\n', /column "title".*line 3.*2 cells/],
    ['a tab in a text', '2\ta\tb\ttitle\n', /at most 3 cells.*line 3.*received 4/],
    ['a quote that nothing closes', '2\t"text\ttitle\n3\tx\ty\n', /closing quote.*line 3/],
    ['a quote that closes after too much', `2\t"${'x\n'.repeat(70_000)}"\ttitle\n`, /131072.*line 3/],
  ])('refuses %s, naming file and line', async (_, line, reason) => {
    await folder.write('psgs_w100.tsv', `${header}1\ttext\ttitle\n${line}`);
    await expectRejection(all(readPassages(folder.path)), 'ELASTICLM_DATA_INVALID', reason);
  });

  it('refuses a line that is longer than any passage', async () => {
    await folder.write('psgs_w100.tsv', Buffer.alloc((1 << 26) + 2, 'x'));
    await expectRejection(
      all(readPassages(folder.path)),
      'ELASTICLM_DATA_INVALID',
      /a line of at most 67108864/,
    );
  });

  it('says which files it looked for', async () => {
    await expectRejection(
      all(readPassages(folder.path)),
      'ELASTICLM_FILE_NOT_FOUND',
      /psgs_w100\.tsv or passages\.tsv/,
    );
  });
});

describe('readQuestions() of tables', () => {
  it.each<[string, string, string[]]>([
    [
      'a list of JSON',
      '["Wilhelm Conrad R\\u00f6ntgen", "a \\"b\\"", "\\ud83d\\ude81"]',
      ['Wilhelm Conrad Röntgen', 'a "b"', '\u{1F681}'],
    ],
    ['a list of Python', `['Röntgen', "Ra's", 'it\\'s', 'a\\\\b\\n']`, ['Röntgen', "Ra's", "it's", 'a\\b\n']],
    ['escapes of Python', String.raw`['\x41\u00e9\U0001F681\101', '\q']`, ['Aé\u{1F681}A', '\\q']],
    ['spaces and a last comma', `[ 'a' , 'b' , ] `, ['a', 'b']],
    ['commas and brackets inside', `['a, b', '[c]']`, ['a, b', '[c]']],
  ])('reads %s', async (_, list, answers) => {
    await folder.write('nq-test.qa.csv', `who?\t${list}\n`);
    expect(await all(readQuestions('nq', folder.path))).toEqual([{ question: 'who?', answers }]);
  });

  it('reads cells in quotes, and repeated questions', async () => {
    await folder.write(
      'trivia-test.csv',
      `"the ""Big"" one?"\t"[""x"", 'y']"\r\n"the ""Big"" one?"\t['z']\r\n`,
    );
    expect(await all(readQuestions('triviaqa', folder.path))).toEqual([
      { question: 'the "Big" one?', answers: ['x', 'y'] },
      { question: 'the "Big" one?', answers: ['z'] },
    ]);
  });

  it.each([
    '',
    '[]',
    'Paris',
    '["Paris"',
    '[Paris]',
    '["a" "b"]',
    '["a",,"b"]',
    '[1]',
    "['a\\U00110000']",
    "['a']b",
    '["a\']',
  ])('refuses answers that are no list of strings: %j', async (list) => {
    await folder.write('nq-test.tsv', `q\t['a']\nwho\t${list}\n`);
    await expectRejection(
      all(readQuestions('nq', folder.path)),
      'ELASTICLM_DATA_INVALID',
      /list of at least one answer.*line 2 of .*nq-test\.tsv/,
    );
  });

  it('refuses a question without answers and one with too many cells', async () => {
    await folder.write('nq-test.tsv', 'who\n');
    await expectRejection(
      all(readQuestions('nq', folder.path)),
      'ELASTICLM_DATA_INVALID',
      /"answers".*line 1/,
    );
    await folder.write('nq-test.tsv', "who\t['a']\t['b']\n");
    await expectRejection(
      all(readQuestions('nq', folder.path)),
      'ELASTICLM_DATA_INVALID',
      /at most 2.*line 1/,
    );
  });

  it('says which files it looked for', async () => {
    await expectRejection(
      all(readQuestions('nq', folder.path, 'dev')),
      'ELASTICLM_FILE_NOT_FOUND',
      /nq-dev\.qa\.csv.*NQ-open\.dev\.jsonl/,
    );
  });
});

describe('readQuestions() of NQ-open', () => {
  it.each(['NQ-open.dev.jsonl', 'NQ-open.efficientqa.dev.1.1.jsonl'])('reads %s', async (name) => {
    await folder.write(
      name,
      '{"question": "who", "answer": ["a", "b"]}\n\n{"question": "", "answer": ["c"]}',
    );
    expect(await all(readQuestions('nq', folder.path, 'dev'))).toEqual([
      { question: 'who', answers: ['a', 'b'] },
      { question: '', answers: ['c'] },
    ]);
  });

  it.each<[string, RegExp]>([
    ['{"question": "who"}', /list of strings in "answer".*none/],
    ['{"question": "who", "answer": []}', /"answer".*\[\]/],
    ['{"question": "who", "answer": "a"}', /"answer".*"a"/],
    ['{"question": "who", "answer": [1]}', /"answer"/],
    ['{"question": null, "answer": ["a"]}', /string in "question".*null/],
    ['{"question": "who", "answer": ["a"]', /one JSON object/],
  ])('refuses %s, naming file and line', async (line, reason) => {
    await folder.write('NQ-open.dev.jsonl', `{"question": "who", "answer": ["a"]}\n${line}\n`);
    const read = all(readQuestions('nq', folder.path, 'dev'));
    const error = await expectRejection(read, 'ELASTICLM_DATA_INVALID', reason);
    expect(error.message).toMatch(/line 2 of .*NQ-open\.dev\.jsonl/);
  });
});

describe('readQuestions() of TriviaQA', () => {
  const name = 'unfiltered-web-dev.json';
  const records = [
    {
      Answer: {
        Aliases: ['Sinclair Lewis', 'Harry "Red" Lewis'],
        NormalizedAliases: ['x'],
        Value: 'Sinclair Lewis',
      },
      Question: 'Which [American] {author}?',
      SearchResults: [{ Title: 'a ] } \\" é', Nested: [[1], { a: [] }] }],
    },
    { Answer: { Aliases: ['b'], Value: 'a' }, Question: 'q2' },
  ];
  const expected = [
    { question: 'Which [American] {author}?', answers: ['Sinclair Lewis', 'Harry "Red" Lewis'] },
    { question: 'q2', answers: ['a', 'b'] },
  ];

  it.each([undefined, 4])('reads the official file, written with indent %s', async (indent) => {
    // what stands beside the array, before and after it, in containers and under names like its own
    const before = { Domain: 'Data', Other: ['Data', { Data: [{ Question: 'not this' }] }] };
    const content = { ...before, Data: records, Split: 'dev', More: [{ Question: 'nor this' }] };
    await folder.write(name, JSON.stringify(content, null, indent));
    expect(await all(readQuestions('triviaqa', folder.path, 'dev'))).toEqual(expected);
  });

  it('reads records that lie across the pieces of a file', async () => {
    const long = [30_000, 65_530, 140_000, 1].map((length) => ({
      ...records[1]!,
      Question: 'é"\\'.repeat(length),
    }));
    await folder.write(name, JSON.stringify({ Data: long }));
    expect(
      (await all(readQuestions('triviaqa', folder.path, 'dev'))).map(({ question }) => question),
    ).toEqual(long.map(({ Question }) => Question));
  });

  it('reads one record in each line', async () => {
    await folder.write(`${name}l`, records.map((record) => JSON.stringify(record)).join('\n'));
    expect(await all(readQuestions('triviaqa', folder.path, 'dev'))).toEqual(expected);
  });

  it.each<[string, string, RegExp]>([
    ['no array', '{\n"Domain": {"Data": [{}]}}', /object with the array "Data".*line 2/],
    ['an array outside of an object', '[{"Question": "q"}]', /object with the array "Data"/],
    ['no answer', '{"Data": [\n{"Question": "q"}]}', /object in "Answer".*line 2.*none/],
    [
      'an answer without aliases',
      '{"Data": [\n\n{"Question": "q", "Answer": {"Value": "a"}}]}',
      /"Aliases".*line 3/,
    ],
    ['a record that is no JSON', '{"Data": [\n{"Question": "q", }]}', /one JSON object.*line 2/],
    ['a record that is an array', '{"Data": [\n[]]}', /one JSON object.*line 2/],
    ['a file that ends early', '{"Data": [\n{"Question": "q', /closing bracket.*line 2/],
    ['a bracket too many', '{"Data": []}}', /one JSON object.*line 1/],
    ['bytes that are not UTF-8', '{"Data": [{"Question": "\xff"}]}', /UTF-8.*line 1/],
  ])('refuses %s, naming file and line', async (_, content, reason) => {
    await folder.write(name, Buffer.from(content, 'latin1'));
    await expectRejection(
      all(readQuestions('triviaqa', folder.path, 'dev')),
      'ELASTICLM_DATA_INVALID',
      reason,
    );
  });
});
