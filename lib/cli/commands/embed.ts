import { Command, Option } from 'commander';
import { ElasticDenser } from '../../index.js';
import { readLines } from '../lines.js';
import { given, jsonOption, levelOption, maxLengthOption, threadsOption, type CommonOptions } from '../options.js';
import { printJson, printTable } from '../output.js';

interface EmbedOptions extends CommonOptions {
  level: number;
  kind: 'query' | 'document';
}

/** Texts encoded together: enough to fill all threads, few enough that results come out while input comes in. */
const textsPerCall = 256;

export function embedCommand(): Command {
  return new Command('embed')
    .description('vectors of texts, one text per line')
    .argument('<model>', 'folder of a checkpoint')
    .argument('[file]', 'file of texts, - for standard input', '-')
    .addOption(levelOption())
    .addOption(new Option('--kind <kind>', 'what the texts are').choices(['query', 'document']).default('document'))
    .addOption(maxLengthOption())
    .addOption(threadsOption())
    .addOption(jsonOption())
    .action(embed);
}

async function embed(directory: string, file: string, options: EmbedOptions): Promise<void> {
  await using denser = await ElasticDenser.load(directory, given(options, 'threads'));
  const flush = async (texts: string[]): Promise<void> => {
    const encodeOptions = { level: options.level, kind: options.kind, ...given(options, 'maxLength') };
    const { data, dims } = await denser.encode(texts, encodeOptions);
    texts.forEach((text, i) => {
      printVector({ text, level: options.level, vector: data.subarray(i * dims, (i + 1) * dims) }, options);
    });
  };
  let pending: string[] = [];
  for await (const line of readLines(file)) {
    pending.push(line);
    if (pending.length === textsPerCall) {
      await flush(pending);
      pending = [];
    }
  }
  if (pending.length > 0) await flush(pending);
}

interface EmbeddedText {
  text: string;
  level: number;
  vector: Float32Array;
}

function printVector(result: EmbeddedText, options: CommonOptions): void {
  if (options.json === true) {
    printJson({ ...result, vector: Array.from(result.vector) });
    return;
  }
  const start = Array.from(result.vector.subarray(0, 6), (value) => value.toFixed(5));
  printTable(['text', 'dims', 'begins'], [[result.text.slice(0, 60), result.vector.length, start.join(' ')]]);
}
