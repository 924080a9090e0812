import { createReadStream } from 'node:fs';
import { ElasticError } from '../index.js';

export interface NumberedLine {
  text: string;
  /** from 1, blank lines counted */
  line: number;
}

/**
 * The lines of a file, or of standard input for `-`; blank lines are left out. Only a line feed ends a line (a carriage
 * return before it is dropped): node:readline also splits at U+2028, which belongs to a text.
 * @throws ELASTICLM_FILE_UNREADABLE
 */
export async function* readLines(path: string): AsyncGenerator<NumberedLine> {
  let line = 0;
  let rest = '';
  for await (const chunk of readChunks(path)) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    for (const text of lines) {
      line += 1;
      if (text.trim() !== '') yield { text: withoutReturn(text), line };
    }
  }
  if (rest.trim() !== '') yield { text: withoutReturn(rest), line: line + 1 };
}

function withoutReturn(text: string): string {
  return text.endsWith('\r') ? text.slice(0, -1) : text;
}

async function* readChunks(path: string): AsyncGenerator<string> {
  const input = path === '-' ? process.stdin : createReadStream(path);
  input.setEncoding('utf8');
  try {
    for await (const chunk of input) yield chunk as string;
  } catch (cause) {
    throw ElasticError.of(
      'ELASTICLM_FILE_UNREADABLE',
      {
        expected: 'a readable file of one text per line',
        subject: path === '-' ? 'standard input' : path,
        received: cause instanceof Error ? cause.message : String(cause),
      },
      { cause },
    );
  }
}
