import { writeFile } from 'node:fs/promises';
import { Command } from 'commander';
import { ElasticError } from '../../index.js';
import { jsonOption } from '../options.js';
import { printJson } from '../output.js';
import { chartPage, trainingChart } from '../training-chart.js';
import { readTrainingLog } from '../training-log.js';

interface ChartOptions {
  output: string;
  title?: string;
  json?: boolean;
}

export function chartCommand(): Command {
  return new Command('chart')
    .description("draws a training run's log: losses, learning rate and metrics of each level over the steps")
    .argument('<log>', "a run's log.jsonl")
    .requiredOption(
      '--output <file>',
      'where to write it; a name that ends with .html gives a page, else SVG',
    )
    .option('--title <text>', 'above the chart (default: the path of the log)')
    .addOption(jsonOption())
    .action(async (log: string, options: ChartOptions) => {
      await drawLog(log, options.output, options.title ?? log);
      if (options.json === true) printJson({ output: options.output });
    });
}

/** @throws ELASTICLM_FILE_UNREADABLE, ELASTICLM_DATA_INVALID, ELASTICLM_FILE_UNWRITABLE */
export async function drawLog(log: string, output: string, title: string): Promise<void> {
  const svg = trainingChart(await readTrainingLog(log), title);
  try {
    await writeFile(output, output.endsWith('.html') ? chartPage(svg, title) : svg);
  } catch (cause) {
    throw ElasticError.of(
      'ELASTICLM_FILE_UNWRITABLE',
      { expected: 'a place to write the chart to', subject: output, received: (cause as Error).message },
      { cause },
    );
  }
}
