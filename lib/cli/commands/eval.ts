import { Command, Option } from 'commander';
import { evaluate, evaluationTasks, type EvaluationTask, type LevelChoice } from '../../index.js';
import {
  addModelOptions,
  given,
  jsonOption,
  levelChoiceOption,
  loadOptions,
  maxLengthOption,
  parseLevel,
  type ModelOptions,
} from '../options.js';
import { printJson, printTable, Progress } from '../output.js';

interface EvalOptions extends ModelOptions {
  task: EvaluationTask;
  data: string;
  split?: string;
  level: LevelChoice;
  indexLevel?: number;
  indexModel?: string;
}

export function evalCommand(): Command {
  const command = new Command('eval')
    .description("a task's official metrics, level by level")
    .argument('<model>', 'folder of a checkpoint')
    .addOption(new Option('--task <name>', 'the task').choices(evaluationTasks).makeOptionMandatory())
    .requiredOption('--data <folder>', "the task's files as published, see docs/evaluation.md")
    .option(
      '--split <name>',
      'which split (default: test for retrieval, nq and triviaqa, dev.small for msmarco, dev otherwise)',
    )
    .addOption(levelChoiceOption())
    .addOption(
      new Option(
        '--index-level <p>',
        "level of the documents' vectors where a collection is searched (default: each query level's own)",
      ).argParser(parseLevel),
    )
    .option('--index-model <folder>', 'checkpoint that encodes the documents (default: the model)')
    .addOption(maxLengthOption());
  return addModelOptions(command).addOption(jsonOption()).action(runEval);
}

async function runEval(directory: string, options: EvalOptions): Promise<void> {
  const progress = new Progress(`eval ${options.task}`);
  const results = evaluate({
    model: directory,
    task: options.task,
    data: options.data,
    levels: options.level,
    onProgress: (done, total) => progress.update(done, total),
    ...given(options, 'split', 'indexLevel', 'indexModel', 'maxLength'),
    ...loadOptions(options),
  });
  const rows: Record<string, string | number>[] = [];
  try {
    for await (const result of results) {
      if (options.json === true) printJson(result);
      else rows.push({ ...result });
    }
  } finally {
    progress.stop();
  }
  if (rows.length > 0) printMetrics(rows);
}

function printMetrics(rows: Record<string, string | number>[]): void {
  const head = Object.keys(rows[0]!);
  const show = (value: string | number | undefined): string | number =>
    typeof value === 'number' && !Number.isInteger(value) ? value.toFixed(4) : (value ?? '');
  printTable(
    head,
    rows.map((row) => head.map((name) => show(row[name]))),
  );
}
