/** A run's folder: its log, its state, the weights kept meanwhile, and at the end the model. */
import { mkdir, open, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { ElasticError } from '../errors.js';
import { writing } from '../structure/index.js';

const stateName = 'state.safetensors';
const logName = 'log.jsonl';
const modelName = 'model';
const keptWeights = /^best-\d+\.safetensors$/;
/** Left by a run that was killed while it wrote. */
const leftovers: readonly RegExp[] = [/^(state|best-\d+)\.safetensors\.tmp-/, /^\.model\..*\.tmp(\.old)?$/];

export class RunFolder {
  readonly path: string;
  readonly statePath: string;
  readonly logPath: string;
  readonly modelPath: string;

  private constructor(path: string) {
    this.path = path;
    this.statePath = join(path, stateName);
    this.logPath = join(path, logName);
    this.modelPath = join(path, modelName);
  }

  /** @throws ELASTICLM_FILE_UNWRITABLE; ELASTICLM_ARGUMENT_INVALID where a run is there and `resume` is false */
  static async open(path: string, resume: boolean): Promise<RunFolder> {
    const folder = new RunFolder(path);
    await writing(path, async () => {
      await mkdir(path, { recursive: true });
      const names = await readdir(path);
      const held = names.filter((name) => [stateName, logName, modelName].includes(name));
      if (!resume && held.length > 0) {
        throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
          expected: 'a folder without a run, since resume is false',
          subject: `options.output, ${path}`,
          received: `one that holds ${held.join(', ')}`,
          remedy: 'Resume it, or choose another folder',
        });
      }
      for (const name of names) {
        if (leftovers.some((pattern) => pattern.test(name))) await remove(join(path, name));
      }
    });
    return folder;
  }

  hasState(): Promise<boolean> {
    return exists(this.statePath);
  }

  hasModel(): Promise<boolean> {
    return exists(join(this.modelPath, 'config.json'));
  }

  /** Where the best weights up to `step` are kept. */
  keptPath(step: number): string {
    return join(this.path, `best-${step}.safetensors`);
  }

  /** Moves a checkpoint's weights to where they are kept. */
  async keep(weights: string, step: number): Promise<void> {
    await writing(this.path, () => rename(weights, this.keptPath(step)));
  }

  /** Removes kept weights other than those of `step`: no state speaks of them any more. */
  async removeKept(step: number | undefined): Promise<void> {
    await writing(this.path, async () => {
      for (const name of await readdir(this.path)) {
        const path = join(this.path, name);
        if (keptWeights.test(name) && (step === undefined || path !== this.keptPath(step)))
          await remove(path);
      }
    });
  }
}

/** One JSON object per line. What was written after the last flush may be lost, or cut off by the next run. */
export class RunLog {
  readonly #file: FileHandle;
  readonly #path: string;
  #length: number;

  private constructor(file: FileHandle, path: string, length: number) {
    this.#file = file;
    this.#path = path;
    this.#length = length;
  }

  /**
   * Opens a log and cuts it to the `length` bytes that a state knows of.
   * @throws ELASTICLM_FILE_UNWRITABLE, ELASTICLM_FILE_UNREADABLE for a shorter one
   */
  static async open(path: string, length: number): Promise<RunLog> {
    const file = await writing(path, () => open(path, length === 0 ? 'w' : 'r+'));
    try {
      const { size } = await file.stat();
      if (size < length) {
        throw ElasticError.of('ELASTICLM_FILE_UNREADABLE', {
          expected: `a log of at least ${length} bytes, as the state knows it,`,
          subject: path,
          received: `${size} bytes`,
          remedy: 'Put the log back, or begin a new run in another output folder',
        });
      }
      await writing(path, () => file.truncate(length));
    } catch (error) {
      await file.close();
      throw error;
    }
    return new RunLog(file, path, length);
  }

  /** Bytes written. */
  get length(): number {
    return this.#length;
  }

  async write(record: object): Promise<void> {
    const line = Buffer.from(`${JSON.stringify(record)}\n`);
    await writing(this.#path, async () => {
      for (let done = 0; done < line.length;) {
        const { bytesWritten } = await this.#file.write(line, done, line.length - done, this.#length + done);
        done += bytesWritten;
      }
    });
    this.#length += line.length;
  }

  /** Everything written reaches the disk. */
  async flush(): Promise<void> {
    await writing(this.#path, () => this.#file.datasync());
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}

function remove(path: string): Promise<void> {
  return rm(path, { recursive: true, force: true });
}
