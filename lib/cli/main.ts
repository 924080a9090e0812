#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { ElasticError, packageVersion } from '../index.js';
import { benchCommand } from './commands/bench.js';
import { chartCommand } from './commands/chart.js';
import { elasticizeCommand } from './commands/elasticize.js';
import { embedCommand } from './commands/embed.js';
import { evalCommand } from './commands/eval.js';
import { infoCommand } from './commands/info.js';
import { profileCommand } from './commands/profile.js';
import { rankCommand } from './commands/rank.js';
import { searchCommand } from './commands/search.js';
import { serveCommand } from './commands/serve.js';
import { simulateCommand } from './commands/simulate.js';
import { distillCommand, finetuneCommand } from './commands/train.js';

const exitFailure = 1;
const exitUsage = 2;

const program = new Command('elasticlm')
  .description('Elastic BERT-family encoders: one set of weights, many SubLMs')
  .version(packageVersion())
  .showHelpAfterError('(add --help for all options)')
  .exitOverride();

for (const command of [
  infoCommand(),
  elasticizeCommand(),
  embedCommand(),
  rankCommand(),
  searchCommand(),
  evalCommand(),
  finetuneCommand(),
  distillCommand(),
  chartCommand(),
  benchCommand(),
  profileCommand(),
  simulateCommand(),
  serveCommand(),
]) {
  program.addCommand(command.copyInheritedSettings(program));
}

/** The whole life of one command: usage errors leave with 2, everything that failed while running with 1. */
async function run(): Promise<void> {
  try {
    await program.parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : exitUsage;
      return;
    }
    process.exitCode = exitFailure;
    if (error instanceof ElasticError) {
      process.stderr.write(`elasticlm: ${error.code}: ${error.message}\n`);
    } else {
      process.stderr.write(
        `elasticlm: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
      );
    }
  }
}

// A reader that closes early (`elasticlm embed … | head -1`) ends the command quietly, as it does for other tools; any
// other failure of stdout (a full disk) is one of the command.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  process.stderr.write(`elasticlm: ELASTICLM_FILE_UNWRITABLE: standard output: ${error.message}\n`);
  process.exit(exitFailure);
});

await run();
