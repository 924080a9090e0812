import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { ElasticError } from '../errors.js';

export interface FileSearch {
  /** where to look */
  folder: string;
  /** names of the file in the order of preference */
  names: readonly string[];
  /** a folder inside `folder` to look in after it */
  subfolder?: string;
}

/** The path of the first file that is there, as it is or compressed as `.gz`. @throws ELASTICLM_FILE_NOT_FOUND */
export async function findDataFile({ folder, names, subfolder }: FileSearch): Promise<string> {
  const folders = subfolder === undefined ? [folder] : [folder, join(folder, subfolder)];
  const paths = folders.flatMap((where) =>
    names.flatMap((name) => [join(where, name), join(where, `${name}.gz`)]),
  );
  for (const path of paths) if (await exists(path)) return path;
  throw ElasticError.of('ELASTICLM_FILE_NOT_FOUND', {
    expected: names.join(' or ') + (subfolder === undefined ? '' : `, there or in ${subfolder}/`),
    subject: folder,
    received: 'no such file',
  });
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
