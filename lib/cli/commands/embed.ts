import { Command, Option } from 'commander';
import { ElasticDenser } from '../../index.js';
import { readLines, type NumberedLine } from '../lines.js';
import {
  addModelOptions,
  given,
  jsonOption,
  levelOption,
  loadOptions,
  maxLengthOption,
  type CommonOptions,
  type ModelOptions,
} from '../options.js';
import { printJson, printTable } from '../output.js';

interface EmbedOptions extends ModelOptions {
  level: number;
  kind: 'query' | 'document';
}

/** Texts encoded together: enough to fill all threads, few enough that results come out while input comes in. */
const textsPerCall = 256;

export function embedCommand(): Command {
  const command = new Command('embed')
    .description('vectors of texts, one text per line')
    .argument('<model>', 'folder of a checkpoint')
    .argument('[file]', 'file of texts, - for standard input', '-')
    .addOption(levelOption())
    .addOption(
      new Option('--kind <kind>', 'what the texts are').choices(['query', 'document']).default('document'),
    )
    .addOption(maxLengthOption());
  return addModelOptions(command).addOption(jsonOption()).action(embed);
}

async function embed(directory: string, file: string, options: EmbedOptions): Promise<void> {
  await using denser = await ElasticDenser.load(directory, loadOptions(options));
  for await (const texts of partsOf(readLines(file))) {
    const encodeOptions = { level: options.level, kind: options.kind, ...given(options, 'maxLength') };
    const { data, dims } = await denser.encode(texts, encodeOptions);
    printVectors(
      texts.map((text, i) => ({
        text,
        level: options.level,
        vector: data.subarray(i * dims, (i + 1) * dims),
      })),
      options,
    );
  }
}

async function* partsOf(lines: AsyncIterable<NumberedLine>): AsyncGenerator<string[]> {
  let part: string[] = [];
  for await (const { text } of lines) {
    if (part.push(text) < textsPerCall) continue;
    yield part;
    part = [];
  }
  if (part.length > 0) yield part;
}

interface EmbeddedText {
  text: string;
  level: number;
  vector: Float32Array;
}

function printVectors(results: EmbeddedText[], options: CommonOptions): void {
  if (options.json === true) {
    for (const result of results) printJson({ ...result, vector: Array.from(result.vector) });
    return;
  }
  printTable(
    ['text', 'dims', 'begins'],
    results.map(({ text, vector }) => [
      text.slice(0, 60),
      vector.length,
      Array.from(vector.subarray(0, 6), (value) => value.toFixed(5)).join(' '),
    ]),
  );
}
