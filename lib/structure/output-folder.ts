/** A folder that appears under its name whole, or not at all. */
import { randomUUID } from 'node:crypto';
import { copyFile, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { ElasticError } from '../errors.js';

/** A checkpoint's files beside its weights: what tokenizers, sentence-transformers and readers of licences look for. */
const companionFiles: readonly RegExp[] = [
  /^config\.json$/,
  /^tokenizer(_config)?\.json$/,
  /^special_tokens_map\.json$/,
  /^added_tokens\.json$/,
  /^vocab\.txt$/,
  /^modules\.json$/,
  /^sentence_bert_config\.json$/,
  /^config_sentence_transformers\.json$/,
  /^(LICENSE|NOTICE|README)(\.md|\.txt)?$/i,
];
/** sentence-transformers keeps each module's settings in a numbered folder, such as 1_Pooling. */
const moduleFolder = /^\d+_\w+$/;
const moduleFile = 'config.json';

export class OutputFolder {
  /** where to write before commit() */
  readonly path: string;
  readonly #target: string;

  private constructor(path: string, target: string) {
    this.path = path;
    this.#target = target;
  }

  /**
   * A new folder beside `target`, which must not exist, be empty, or, with `overwrite`, be a checkpoint.
   * @throws ELASTICLM_ARGUMENT_INVALID, ELASTICLM_FILE_UNWRITABLE
   */
  static async create(target: string, overwrite: boolean): Promise<OutputFolder> {
    const full = resolve(target);
    return writing(full, async () => {
      const names = await namesIn(full);
      if (names.length > 0 && !overwrite) {
        throw refuse(
          target,
          'a folder that does not exist or is empty',
          names,
          'Pass overwrite to replace a checkpoint',
        );
      }
      // Replacing deletes: a mistyped path must not cost somebody their home folder.
      if (names.length > 0 && !names.includes('config.json')) {
        throw refuse(
          target,
          'a checkpoint, with a config.json, to overwrite',
          names,
          'Remove the folder yourself',
        );
      }
      const path = join(dirname(full), `.${basename(full)}.${randomUUID()}.tmp`);
      await mkdir(path, { recursive: true });
      return new OutputFolder(path, full);
    });
  }

  /** Copies everything of a checkpoint's folder but its weights and its elastic.json. */
  async copyCompanions(source: string): Promise<void> {
    await writing(this.#target, async () => {
      for (const entry of await readdir(source, { withFileTypes: true })) {
        const { name } = entry;
        if (entry.isDirectory() ? !moduleFolder.test(name) : !companionFiles.some((file) => file.test(name)))
          continue;
        if (!entry.isDirectory()) {
          await copyFile(join(source, name), join(this.path, name));
        } else if ((await namesIn(join(source, name))).includes(moduleFile)) {
          await mkdir(join(this.path, name));
          await copyFile(join(source, name, moduleFile), join(this.path, name, moduleFile));
        }
      }
    });
  }

  /** Puts the folder in its place; one that was there is moved away first and then removed. */
  async commit(): Promise<void> {
    await writing(this.#target, async () => {
      const replaced = `${this.path}.old`;
      const replaces = (await namesIn(this.#target)).length > 0;
      if (replaces) await rename(this.#target, replaced);
      await rename(this.path, this.#target);
      await rm(replaced, { recursive: true, force: true });
    });
  }

  /** Leaves nothing behind. After commit() it does nothing. */
  async abandon(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function refuse(target: string, expected: string, names: readonly string[], remedy: string): ElasticError {
  return ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected,
    subject: `output ${target}`,
    received: `one that holds ${names.slice(0, 3).join(', ')}`,
    remedy,
  });
}

/** Runs something that writes below `target`. @throws ELASTICLM_FILE_UNWRITABLE with the system's reason */
export async function writing<T>(target: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (cause) {
    if (cause instanceof ElasticError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    const facts = { expected: 'a place to write to', subject: target, received: message };
    const remedy = code === 'ENOSPC' ? { remedy: 'Free some space on the disk' } : {};
    throw ElasticError.of('ELASTICLM_FILE_UNWRITABLE', { ...facts, ...remedy }, { cause });
  }
}
