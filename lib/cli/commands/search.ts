import { existsSync } from 'node:fs';
import { Command, Option } from 'commander';
import {
  DenseRetriever,
  ElasticDenser,
  ElasticError,
  readProse,
  VectorIndex,
  type Hit,
  type LevelChoice,
  type ProsePassage,
  type RetrieveOptions,
  type VectorPrecision,
} from '../../index.js';
import {
  addModelOptions,
  given,
  jsonOption,
  levelChoiceOption,
  loadOptions,
  maxLengthOption,
  parseCount,
  parseLevel,
  resolveLevels,
  type ModelOptions,
} from '../options.js';
import { formatMs, printJson, printTable, Progress } from '../output.js';

interface SearchOptions extends ModelOptions {
  query: string[];
  level: LevelChoice;
  indexLevel: number;
  indexPrecision: VectorPrecision;
  index?: string;
  topK: number;
}

/** A query is answered this often at each level; the median is printed. */
const repetitions = 7;

export function searchCommand(): Command {
  const command = new Command('search')
    .description('searches text files at several levels; documents are indexed once, at one level')
    .argument('<model>', 'folder of a checkpoint')
    .argument('[paths...]', '.md and .txt files, or folders of them; not needed with an existing --index')
    .requiredOption('--query <text>', 'what to look for; may be given several times', collect)
    .addOption(levelChoiceOption())
    .addOption(
      new Option('--index-level <p>', "level of the documents' vectors").argParser(parseLevel).default(1),
    )
    .addOption(
      new Option(
        '--index-precision <name>',
        'what a new index stores its vectors in; i8 takes a quarter of f32',
      )
        .choices(['f32', 'i8'])
        .default('f32'),
    )
    .option('--index <file>', 'index to search; written from the paths when it does not exist')
    .addOption(new Option('--top-k <n>', 'hits per query').argParser(parseCount).default(1))
    .addOption(maxLengthOption());
  return addModelOptions(command).addOption(jsonOption()).action(search);
}

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

async function search(directory: string, paths: string[], options: SearchOptions): Promise<void> {
  await using denser = await ElasticDenser.load(directory, loadOptions(options));
  const levels = resolveLevels(options.level, denser.model.levels);
  const { origin, indexLevel, ...opened } = await openIndex(denser, paths, options);
  await using retriever = opened.retriever;
  if (options.json !== true) process.stdout.write(`${retriever.index.count} passages ${origin}\n`);
  for (const query of options.query) {
    const answers: Answer[] = [];
    for (const level of levels) {
      const found = await retrieveTimed(retriever, query, {
        level,
        topK: options.topK,
        ...given(options, 'maxLength'),
      });
      answers.push({ query, level, ...(indexLevel === undefined ? {} : { indexLevel }), ...found });
    }
    if (options.json === true) for (const answer of answers) printJson(answer);
    else printAnswers(query, answers);
  }
}

interface OpenedIndex {
  retriever: DenseRetriever;
  /** where its vectors come from, for people */
  origin: string;
  /** unknown of an index that was there: the file does not say */
  indexLevel?: number;
}

async function openIndex(
  denser: ElasticDenser,
  paths: string[],
  options: SearchOptions,
): Promise<OpenedIndex> {
  const { index: path, indexLevel } = options;
  if (path !== undefined && existsSync(path)) {
    const retriever = new DenseRetriever(denser, await VectorIndex.open(path));
    return { retriever, origin: `in ${path}${paths.length === 0 ? '' : '; the given paths were not read'}` };
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
    const passages: ProsePassage[] = [];
    for await (const passage of readProse(paths)) passages.push(passage);
    const retriever = await DenseRetriever.build(denser, passages, {
      level: indexLevel,
      path,
      precision: options.indexPrecision,
      onProgress: ({ documents }) => progress.update(documents, passages.length),
      ...given(options, 'maxLength'),
    });
    return { retriever, origin: `indexed at level ${indexLevel}`, indexLevel };
  } finally {
    progress.stop();
  }
}

interface Found {
  /** median time from the query's text to its hits */
  medianMs: number;
  hits: Hit[];
}

interface Answer extends Found {
  query: string;
  level: number;
  indexLevel?: number;
}

async function retrieveTimed(
  retriever: DenseRetriever,
  query: string,
  options: RetrieveOptions,
): Promise<Found> {
  const times: number[] = [];
  let hits: Hit[] = [];
  for (let i = 0; i < repetitions; i++) {
    const start = performance.now();
    [hits = []] = await retriever.retrieve(query, options);
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  return { medianMs: times[repetitions >> 1]!, hits };
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
