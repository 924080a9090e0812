/** Where acceptance runs leave what they measured. */
import path from 'node:path';
import { writeRecord } from '../../../bench/record.js';
import { repositoryRoot } from './data.js';

/** Stores `body` under docs/results/, stamped with commit, machine and date. */
export function storeResult(name: string, body: object): void {
  writeRecord(path.join(repositoryRoot, 'docs', 'results', `${name}.json`), body);
}
