/** Data files that a test writes into a folder of its own. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export class DataFolder {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async create(): Promise<DataFolder> {
    return new DataFolder(await mkdtemp(join(tmpdir(), 'elasticlm-data-')));
  }

  /** Writes `content` under a name that may name folders. */
  async write(name: string, content: string | Uint8Array): Promise<void> {
    const path = join(this.path, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true });
  }
}

/** Rows as a table has them, one line each. */
export function tableOf(rows: readonly (readonly (string | number)[])[]): string {
  return rows.map((row) => `${row.join('\t')}\n`).join('');
}

export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}
