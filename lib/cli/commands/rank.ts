import { Command, Option } from 'commander';
import { ElasticRanker } from '../../index.js';
import { readLines, type NumberedLine } from '../lines.js';
import {
  addModelOptions,
  given,
  jsonOption,
  levelOption,
  loadOptions,
  maxLengthOption,
  parseCount,
  type ModelOptions,
} from '../options.js';
import { printJson, printTable } from '../output.js';

interface RankOptions extends ModelOptions {
  level: number;
  topK?: number;
}

export function rankCommand(): Command {
  const command = new Command('rank')
    .description('orders documents by relevance to a query with a cross-encoder, one document per line')
    .argument('<model>', 'folder of a one-label sequence classification checkpoint')
    .argument('<query>', 'the query')
    .argument('[file]', 'file of documents, - for standard input', '-')
    .addOption(levelOption())
    .addOption(new Option('--top-k <n>', 'how many to print').argParser(parseCount))
    .addOption(maxLengthOption());
  return addModelOptions(command).addOption(jsonOption()).action(rank);
}

async function rank(directory: string, query: string, file: string, options: RankOptions): Promise<void> {
  await using ranker = await ElasticRanker.load(directory, loadOptions(options));
  const documents: NumberedLine[] = [];
  for await (const document of readLines(file)) documents.push(document);
  const texts = documents.map(({ text }) => text);
  const rankOptions = { level: options.level, ...given(options, 'topK', 'maxLength') };
  const ranking = await ranker.rank(query, texts, rankOptions);
  const results = ranking.map(({ index, score }) => ({ index, score, ...documents[index]! }));
  if (options.json === true) {
    for (const { index, score, line, text } of results) {
      printJson({ index, line, score, level: options.level, document: text });
    }
    return;
  }
  printTable(
    ['score', 'line', 'document'],
    results.map(({ score, line, text }) => [score.toFixed(4), line, text.slice(0, 80)]),
  );
}
