/** Files of prose, cut into pieces that are searched or trained on. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { ElasticError } from '../errors.js';

/** A piece of a file that is searched as one document. */
export interface ProsePassage {
  /** `path`, or `path#heading` in Markdown, with ` (n)` for the n-th piece of a long section */
  id: string;
  /** the headings above it, joined by full stops; empty outside of Markdown */
  title: string;
  body: string;
  /** title and body */
  text: string;
}

/** Long sections are cut near this many words: about 200 tokens, within the 256 that small encoders were trained for. */
const maxWords = 150;

const isProse = (name: string): boolean => ['.md', '.txt'].includes(extname(name));

/**
 * Reads files and folders (for `.md` and `.txt` below them, in name order) and cuts them into passages.
 * @throws ELASTICLM_FILE_UNREADABLE
 */
export async function* readProse(paths: readonly string[]): AsyncGenerator<ProsePassage> {
  for (const path of paths) {
    for await (const file of listFiles(path, isProse)) {
      const text = await readText(file);
      yield* extname(file) === '.md' ? markdownPassages(file, text) : plainPassages(file, text);
    }
  }
}

/** A file itself, or the files of a folder that are `wanted` by their names, in name order; hidden folders and node_modules left out. */
export async function* listFiles(path: string, wanted: (name: string) => boolean): AsyncGenerator<string> {
  let isFolder: boolean;
  try {
    isFolder = (await stat(path)).isDirectory();
  } catch (cause) {
    throw unreadable(path, cause);
  }
  if (!isFolder) {
    yield path;
    return;
  }
  const entries = await readdir(path, { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const child = join(path, entry.name);
    if (entry.isDirectory() && entry.name !== 'node_modules' && !entry.name.startsWith('.'))
      yield* listFiles(child, wanted);
    else if (entry.isFile() && wanted(entry.name)) yield child;
  }
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

function unreadable(path: string, cause: unknown): ElasticError {
  const received = cause instanceof Error ? cause.message : String(cause);
  const facts = { expected: 'a readable text file, or a folder of them', subject: path, received };
  return ElasticError.of('ELASTICLM_FILE_UNREADABLE', facts, { cause });
}

/** One passage per heading's section; a section's text begins with the headings above it, which say what it is about. */
function* markdownPassages(file: string, markdown: string): Generator<ProsePassage> {
  // Sparse where a level of heading was skipped.
  const headings: (string | undefined)[] = [];
  let lines: string[] = [];
  let inCode = false;
  const section = (): Iterable<ProsePassage> => {
    const body = lines.join('\n');
    lines = [];
    const trail = headings.filter((heading) => heading !== undefined);
    const id = trail.length === 0 ? file : `${file}#${trail.at(-1)!}`;
    return pieces(id, trail.join('. '), body);
  };
  for (const line of markdown.split(/\r?\n/)) {
    if (/^\s*(```|~~~)/.test(line)) inCode = !inCode;
    const heading = inCode ? null : /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (heading === null) {
      lines.push(line);
      continue;
    }
    yield* section();
    headings.length = heading[1]!.length - 1;
    headings.push(heading[2]);
  }
  yield* section();
}

function* plainPassages(file: string, text: string): Generator<ProsePassage> {
  yield* pieces(file, '', text);
}

/** Cuts between paragraphs where a section is long. */
function* pieces(id: string, title: string, body: string): Generator<ProsePassage> {
  const parts: { text: string; words: number }[] = [];
  for (const text of body.split(/\n\s*\n/).filter((paragraph) => paragraph.trim() !== '')) {
    const words = text.trim().split(/\s+/).length;
    const last = parts.at(-1);
    if (last !== undefined && last.words + words <= maxWords) {
      last.text += `\n\n${text}`;
      last.words += words;
    } else {
      parts.push({ text, words });
    }
  }
  const oneLineTitle = oneLine(title);
  for (const [i, part] of parts.entries()) {
    const body = oneLine(part.text);
    yield {
      id: parts.length === 1 ? id : `${id} (${i + 1})`,
      title: oneLineTitle,
      body,
      text: title === '' ? body : `${oneLineTitle}. ${body}`,
    };
  }
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
