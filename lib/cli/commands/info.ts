import { Command } from 'commander';
import { ElasticModel, type ModelInfo } from '../../index.js';
import { addModelOptions, jsonOption, loadOptions, type ModelOptions } from '../options.js';
import { printJson, printTable } from '../output.js';

export function infoCommand(): Command {
  const command = new Command('info')
    .description('what a checkpoint holds and what would run it')
    .argument('<model>', 'folder of a checkpoint');
  return addModelOptions(command).addOption(jsonOption()).action(info);
}

async function info(directory: string, options: ModelOptions): Promise<void> {
  await using model = await ElasticModel.load(directory, loadOptions(options));
  const facts = { model: directory, ...model.info(), config: model.config, levels: model.levels };
  if (options.json === true) {
    printJson(facts);
    return;
  }
  const { config } = model;
  process.stdout.write(
    `${directory}: ${config.numLayers} layers, hidden ${config.hiddenSize}, ${config.numHeads} heads, ` +
      `${config.intermediateSize} neurons, at most ${model.checkpoint.maxLength} tokens\n` +
      `runs on ${facts.backend} (${placeOf(facts)}), ${facts.precision}, ` +
      `${(facts.weightBytes / 2 ** 20).toFixed(1)} MiB of packed weights shared by all levels\n` +
      (facts.backendReason === undefined ? '' : `not on a GPU: ${facts.backendReason}\n`),
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

function placeOf({ device, isa, threads }: ModelInfo): string {
  if (device === undefined) return `${isa}, ${threads} threads`;
  const name = device.emulated ? 'an emulated GPU' : device.name;
  return `${name}, ${isa}, ${threads} forwards in flight`;
}
