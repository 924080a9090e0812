import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { ElasticError } from '../index.js';

/** The lines of a file, or of standard input for `-`; blank lines are left out. */
export async function* readLines(path: string): AsyncGenerator<string> {
  if (path !== '-') await ensureReadable(path);
  const input = path === '-' ? process.stdin : createReadStream(path, 'utf8');
  for await (const line of createInterface({ input, crlfDelay: Infinity })) {
    if (line.trim() !== '') yield line;
  }
}

/** Turns what the system says about a missing or forbidden file into a coded error before a stream is made of it. */
async function ensureReadable(path: string): Promise<void> {
  try {
    const handle = await open(path, 'r');
    await handle.close();
  } catch (cause) {
    throw ElasticError.of(
      'ELASTICLM_FILE_UNREADABLE',
      { expected: 'a readable file of one text per line', subject: path, received: String(cause) },
      { cause },
    );
  }
}
