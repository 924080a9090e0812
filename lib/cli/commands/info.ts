import { Command } from 'commander';
import { ElasticModel } from '../../index.js';
import { given, jsonOption, threadsOption, type CommonOptions } from '../options.js';
import { printJson, printTable } from '../output.js';

export function infoCommand(): Command {
  return new Command('info')
    .description('what a checkpoint holds and what would run it')
    .argument('<model>', 'folder of a checkpoint')
    .addOption(threadsOption())
    .addOption(jsonOption())
    .action(info);
}

async function info(directory: string, options: CommonOptions): Promise<void> {
  await using model = await ElasticModel.load(directory, given(options, 'threads'));
  const facts = { model: directory, ...model.info(), config: model.config, levels: model.levels };
  if (options.json === true) {
    printJson(facts);
    return;
  }
  const { config } = model;
  process.stdout.write(
    `${directory}: ${config.numLayers} layers, hidden ${config.hiddenSize}, ${config.numHeads} heads, ` +
      `${config.intermediateSize} neurons, at most ${model.checkpoint.maxLength} tokens\n` +
      `runs on ${facts.backend} (${facts.isa}), ${facts.precision}, ${facts.threads} threads, ` +
      `${(facts.weightBytes / 2 ** 20).toFixed(1)} MiB of packed weights shared by all levels\n`,
  );
  printTable(
    ['level', 'heads per layer', 'neurons per layer', 'compute'],
    model.levels.map((entry) => [
      entry.level,
      entry.heads.join(' '),
      entry.neurons.join(' '),
      `${(100 * entry.computeFraction).toFixed(1)}%`,
    ]),
  );
}
