import { isAbsolute, join, normalize, sep } from 'node:path';
import type { ElasticError } from '../errors.js';
import { invalidField, type JsonSource } from './json-file.js';

/**
 * The path of a file that a checkpoint's JSON names: always inside the checkpoint's folder, whatever the name says.
 * @throws the source's code
 */
export function childPath(directory: string, name: string, source: JsonSource): string {
  const escapes = (): ElasticError => invalidField(source, 'a path', 'one inside the folder', name);
  if (name.includes('\0') || isAbsolute(name) || /^[a-z]:/i.test(name)) throw escapes();
  const inside = normalize(name.replaceAll('\\', '/'));
  if (inside === '..' || inside.startsWith(`..${sep}`) || isAbsolute(inside)) throw escapes();
  return join(directory, inside);
}
