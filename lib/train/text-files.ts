/** Running text from files: JSON lines, plain lines and Markdown. */
import { stat } from 'node:fs/promises';
import { ElasticError } from '../errors.js';
import { readJsonLines, readLines, stringField, type OnBytes } from '../eval/lines.js';
import { listFiles, readProse } from '../retrieval/index.js';

/** A passage of running text. */
export interface TrainingText {
  /** of the page or section that it comes from; empty where there is none */
  title: string;
  text: string;
}

export interface ReadTextsOptions {
  /** bytes read, of how many, as the files lie on disk */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

type Reader = (path: string, onBytes: OnBytes) => AsyncGenerator<TrainingText>;

/** By the end of a file's name. */
const readers: Readonly<Record<string, Reader>> = {
  '.jsonl': readJsonl,
  '.jsonl.gz': readJsonl,
  '.jsonl.xz': readJsonl,
  '.txt': readPlain,
  '.txt.gz': readPlain,
  '.txt.xz': readPlain,
  '.md': readMarkdown,
};

/**
 * The texts of files, and of folders' files in name order: `.jsonl` with `text` and perhaps `title` in each line, `.txt` with
 * a text in each line (both also as `.gz` and `.xz`), and `.md` by section. Of a folder with `.jsonl` files only those are
 * read. Blank texts are left out.
 * @throws ELASTICLM_ARGUMENT_INVALID (another kind of file), ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID (naming file
 * and line)
 */
export async function* readTexts(
  paths: readonly string[],
  options: ReadTextsOptions = {},
): AsyncGenerator<TrainingText> {
  const files: { path: string; bytes: number }[] = [];
  for (const path of paths) {
    const listed: string[] = [];
    for await (const file of listFiles(path, (name) => readerOf(name) !== undefined)) listed.push(file);
    for (const file of withoutNotes(listed)) files.push({ path: file, bytes: (await stat(file)).size });
  }
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  let before = 0;
  for (const { path, bytes } of files) {
    let done = 0;
    const read = readerOf(path) ?? refuse(path);
    const texts = read(path, (count) => options.onProgress?.(before + (done += count), total));
    for await (const text of texts) if (text.text.trim() !== '') yield text;
    before += bytes;
  }
  options.onProgress?.(total, total);
}

/** Beside JSON lines, other files say what they are and where they come from. */
function withoutNotes(files: readonly string[]): readonly string[] {
  const records = files.filter((file) => readerOf(file) === readJsonl);
  return records.length > 0 ? records : files;
}

function readerOf(name: string): Reader | undefined {
  return Object.entries(readers).find(([end]) => name.endsWith(end))?.[1];
}

function refuse(path: string): never {
  throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected: `a file whose name ends with ${Object.keys(readers).join(', ')}, or a folder of them`,
    subject: 'training text',
    received: path,
  });
}

async function* readJsonl(path: string, onBytes: OnBytes): AsyncGenerator<TrainingText> {
  for await (const record of readJsonLines(path, onBytes)) {
    const title = record.fields['title'] === undefined ? '' : stringField(record, 'title');
    yield { title, text: stringField(record, 'text') };
  }
}

async function* readPlain(path: string, onBytes: OnBytes): AsyncGenerator<TrainingText> {
  for await (const { text } of readLines(path, onBytes)) yield { title: '', text };
}

async function* readMarkdown(path: string): AsyncGenerator<TrainingText> {
  for await (const { title, body } of readProse([path])) yield { title, text: body };
}

/** What a passage is encoded as: title and text joined by one space, as documents of retrieval collections are. */
export function passageText({ title, text }: TrainingText): string {
  return title === '' || text.startsWith(title) ? text : `${title} ${text}`;
}

/** A sentence ends with a full stop, question or exclamation mark before a space and what can begin another one. */
const betweenSentences = /(?<=[.!?])\s+(?=["'(]?[A-Z0-9])/;

export function sentencesOf(text: string): string[] {
  return text.split(betweenSentences);
}

export function countWords(text: string): number {
  return text.trim().split(/\s+/).length;
}
