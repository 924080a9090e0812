import { stat } from 'node:fs/promises';
import { Command, Option } from 'commander';
import { elasticize } from '../../index.js';
import { readLines } from '../lines.js';
import {
  given,
  jsonOption,
  parseCount,
  parseLevels,
  parseWhole,
  threadsOption,
  type CommonOptions,
} from '../options.js';
import { printJson, printTable, Progress } from '../output.js';
import { readPassages } from '../passages.js';

interface ElasticizeOptions extends CommonOptions {
  text: string[];
  levels: number[];
  examples: number;
  seed: number;
  overwrite?: boolean;
}

export function elasticizeCommand(): Command {
  return new Command('elasticize')
    .description(
      'cuts a checkpoint into nested SubLMs: ranks heads and neurons on calibration text, writes an elastic checkpoint',
    )
    .argument('<model>', 'folder of an ordinary checkpoint')
    .argument('<output>', 'folder to write')
    .requiredOption(
      '--text <files...>',
      'calibration text: folders and .md files by passage, other files (- for standard input) by line',
    )
    .addOption(
      new Option('--levels <list>', 'preserving levels')
        .argParser(parseLevels)
        .default([1, 0.5, 0.25, 0.1], '1,0.5,0.25,0.1'),
    )
    .addOption(new Option('--examples <n>', 'how many texts to use').argParser(parseCount).default(1024))
    .addOption(new Option('--seed <n>', 'picks the texts').argParser(parseWhole).default(1))
    .option('--overwrite', 'replace an existing output')
    .addOption(threadsOption())
    .addOption(jsonOption())
    .action(runElasticize);
}

async function runElasticize(model: string, output: string, options: ElasticizeOptions): Promise<void> {
  const progress = new Progress('calibrate');
  try {
    const result = await elasticize({
      model,
      output,
      texts: calibrationTexts(options.text),
      levels: options.levels,
      maxExamples: options.examples,
      seed: options.seed,
      overwrite: options.overwrite === true,
      onProgress: (done, total) => progress.update(done, total),
      ...given(options, 'threads'),
    });
    progress.stop();
    if (options.json === true) {
      printJson({ output, ...result });
      return;
    }
    printTable(
      ['level', 'heads per layer', 'neurons per layer'],
      result.levels.map((entry) => [entry.level, entry.heads.join(' '), entry.neurons.join(' ')]),
    );
  } finally {
    progress.stop();
  }
}

async function* calibrationTexts(paths: readonly string[]): AsyncGenerator<string> {
  for (const path of paths) {
    const byPassage = path.endsWith('.md') || (path !== '-' && (await isFolder(path)));
    for await (const { text } of byPassage ? readPassages([path]) : readLines(path)) yield text;
  }
}

/** A path that cannot be looked at is not a folder: reading it as a file then says what is wrong with it. */
async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}
