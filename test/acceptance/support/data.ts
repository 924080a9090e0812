/** The collections that acceptance runs measure on. They are not part of the repository. */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { readBeirCorpus, readBeirQueries } from '../../../lib/index.js';

export const repositoryRoot = fileURLToPath(new URL('../../..', import.meta.url));

/** A folder or file below ELASTICLM_DATA (default ../shared/data beside the repository). Fails when it is not there. */
export function dataPath(...parts: string[]): string {
  const root = path.resolve(repositoryRoot, process.env['ELASTICLM_DATA'] ?? '../shared/data');
  const full = path.join(root, ...parts);
  if (existsSync(full)) return full;
  const found = existsSync(root) ? `a folder with ${readdirSync(root).join(', ')}` : 'no such folder';
  throw new Error(
    `acceptance runs need ${parts.join('/')} in ${root}, found ${found}: ` +
      'set ELASTICLM_DATA to the folder of the collections (docs/results/README.md)',
  );
}

/** The texts of a BEIR collection's queries. */
export async function queryTexts(collection: string): Promise<string[]> {
  const texts: string[] = [];
  for await (const { text } of readBeirQueries(dataPath(collection))) texts.push(text);
  return texts;
}

/** The first `count` documents of a BEIR collection, titles left out: running prose of some hundred words. */
export async function documentTexts(collection: string, count: number): Promise<string[]> {
  const texts: string[] = [];
  for await (const { text } of readBeirCorpus(dataPath(collection))) {
    if (texts.push(text) === count) break;
  }
  return texts;
}
