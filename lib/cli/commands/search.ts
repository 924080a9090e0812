import { existsSync } from 'node:fs';
import { Command, Option } from 'commander';
import { DenseRetriever, ElasticDenser, ElasticError, VectorIndex, type Hit } from '../../index.js';
import {
  given,
  jsonOption,
  levelChoiceOption,
  maxLengthOption,
  parseCount,
  parseLevel,
  resolveLevels,
  threadsOption,
  type CommonOptions,
  type LevelChoice,
} from '../options.js';
import { formatMs, printJson, printTable, Progress } from '../output.js';
import { readPassages, type Passage } from '../passages.js';

interface SearchOptions extends CommonOptions {
  query: string[];
  level: LevelChoice;
  indexLevel: number;
  index?: string;
  topK: number;
}

/** A query is answered this often at each level; the median is printed. */
const repetitions = 7;

export function searchCommand(): Command {
  return new Command('search')
    .description('searches text files at several levels; documents are indexed once, at one level')
    .argument('<model>', 'folder of a checkpoint')
    .argument('[paths...]', '.md and .txt files, or folders of them; not needed with an existing --index')
    .requiredOption('--query <text>', 'what to look for; may be given several times', collect, [])
    .addOption(levelChoiceOption('all'))
    .addOption(new Option('--index-level <p>', "level of the documents' vectors").argParser(parseLevel).default(1))
    .option('--index <file>', 'index to search; written from the paths when it does not exist')
    .addOption(new Option('--top-k <n>', 'hits per query').argParser(parseCount).default(1))
    .addOption(maxLengthOption())
    .addOption(threadsOption())
    .addOption(jsonOption())
    .action(search);
}

function collect(value: string, previous: string[]): string[] {
  return [...previous, value];
}

async function search(directory: string, paths: string[], options: SearchOptions): Promise<void> {
  await using denser = await ElasticDenser.load(directory, given(options, 'threads'));
  await using retriever = await openIndex(denser, paths, options);
  const levels = resolveLevels(options.level, denser.levels);
  if (options.json !== true) {
    process.stdout.write(`${retriever.index.count} passages indexed at level ${options.indexLevel}\n`);
  }
  for (const query of options.query) {
    const answers: Answer[] = [];
    for (const level of levels) answers.push(await answer(retriever, query, { ...options, queryLevel: level }));
    if (options.json === true) for (const one of answers) printJson(one);
    else printAnswers(query, answers);
  }
}

async function openIndex(denser: ElasticDenser, paths: string[], options: SearchOptions): Promise<DenseRetriever> {
  if (options.index !== undefined && existsSync(options.index)) {
    return new DenseRetriever(denser, await VectorIndex.open(options.index));
  }
  if (paths.length === 0) {
    throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
      expected: 'files or folders to search, or --index with an existing index',
      subject: 'paths',
      received: 'neither',
    });
  }
  const progress = new Progress('index');
  try {
    const passages: Passage[] = [];
    for await (const passage of readPassages(paths)) passages.push(passage);
    return await DenseRetriever.build(denser, passages, {
      level: options.indexLevel,
      path: options.index,
      onProgress: ({ documents }) => progress.update(documents, passages.length),
      ...given(options, 'maxLength'),
    });
  } finally {
    progress.stop();
  }
}

interface Answer {
  query: string;
  level: number;
  indexLevel: number;
  /** median time from the query's text to its hits */
  medianMs: number;
  hits: Hit[];
}

async function answer(
  retriever: DenseRetriever,
  query: string,
  options: SearchOptions & { queryLevel: number },
): Promise<Answer> {
  const { queryLevel: level, indexLevel, topK } = options;
  const times: number[] = [];
  let hits: Hit[] = [];
  for (let i = 0; i < repetitions; i++) {
    const start = performance.now();
    [hits = []] = await retriever.retrieve(query, { level, topK, ...given(options, 'maxLength') });
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  return { query, level, indexLevel, medianMs: times[repetitions >> 1]!, hits };
}

function printAnswers(query: string, answers: Answer[]): void {
  process.stdout.write(`\n${query}\n`);
  printTable(
    ['level', 'time', 'score', 'hit'],
    answers.flatMap(({ level, medianMs, hits }) =>
      hits.map((hit, rank) => [
        rank === 0 ? level : '',
        rank === 0 ? formatMs(medianMs) : '',
        hit.score.toFixed(3),
        hit.id,
      ]),
    ),
  );
}
