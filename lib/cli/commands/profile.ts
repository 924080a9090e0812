import { writeFile } from 'node:fs/promises';
import { Command } from 'commander';
import { ElasticError, ElasticModel, profileModel, type Profile } from '../../index.js';
import { addModelOptions, jsonOption, loadOptions, parsePositive, type ModelOptions } from '../options.js';
import { printJson, printTable } from '../output.js';

interface ProfileCommandOptions extends ModelOptions {
  output?: string;
  seconds: number;
}

export function profileCommand(): Command {
  const command = new Command('profile')
    .description(
      'measures what each level costs here and reads what it is worth: what simulate and a schedule start from',
    )
    .argument('<model>', 'folder of an elastic checkpoint')
    .option('--output <file>', 'writes the profile, for simulate --profile')
    .option('--seconds <n>', 'time to measure for', parsePositive, 2);
  return addModelOptions(command).addOption(jsonOption()).action(profile);
}

async function profile(directory: string, options: ProfileCommandOptions): Promise<void> {
  await using model = await ElasticModel.load(directory, loadOptions(options));
  const measured = await profileModel(model, { budgetMs: options.seconds * 1000 });
  if (options.output !== undefined) await write(options.output, measured);
  if (options.json === true) {
    printJson(measured);
    return;
  }
  process.stdout.write(`${directory}: ${measured.machine}, ${measured.batchMs.toFixed(3)} ms a batch and\n`);
  printTable(
    ['level', 'quality', 'us a sequence', 'us a token', 'ns a squared token'],
    measured.levels.map(({ level, quality, perSequenceMs, perTokenMs, perTokenSquareMs }) => [
      level,
      quality.toFixed(4),
      (perSequenceMs * 1e3).toFixed(1),
      (perTokenMs * 1e3).toFixed(2),
      (perTokenSquareMs * 1e6).toFixed(2),
    ]),
  );
}

async function write(path: string, measured: Profile): Promise<void> {
  try {
    await writeFile(path, `${JSON.stringify(measured, null, 2)}\n`);
  } catch (cause) {
    throw ElasticError.of(
      'ELASTICLM_FILE_UNWRITABLE',
      { expected: 'a place to write the profile to', subject: path, received: (cause as Error).message },
      { cause },
    );
  }
}
