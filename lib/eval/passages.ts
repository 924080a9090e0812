/** A collection of passages as DPR publishes it: `psgs_w100.tsv`, rows of id, text and title, cells in quotes where needed. */
import { findDataFile } from './data-files.js';
import { readTable } from './tables.js';

export interface Passage {
  id: string;
  text: string;
  title: string;
}

const names = ['psgs_w100.tsv', 'passages.tsv'];

/**
 * The passages of a folder, streamed. The header line `id text title` may be there or not. Ids are not compared: 21 million
 * of them are more than a set can hold.
 * @throws ELASTICLM_FILE_NOT_FOUND, ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID (naming file and line)
 */
export async function* readPassages(folder: string): AsyncGenerator<Passage> {
  const path = await findDataFile({ folder, names });
  for await (const row of readTable(path, { columns: ['id', 'text', 'title'], quoted: true })) {
    const passage = { id: row.cell('id'), text: row.cell('text'), title: row.cell('title') };
    if (row.place.line === 1 && passage.id === 'id') continue;
    yield passage;
  }
}
