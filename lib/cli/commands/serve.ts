import type { FastifyInstance } from 'fastify';
import { Command, InvalidArgumentError, Option } from 'commander';
import { ElasticService, paperPolicy, slackPolicy, staticPolicy, type Policy } from '../../index.js';
import {
  addModelOptions,
  jsonOption,
  loadOptions,
  parseCount,
  parseLevel,
  parsePositive,
  type ModelOptions,
} from '../options.js';
import { printJson } from '../output.js';

interface ServeOptions extends ModelOptions {
  ranker?: string;
  classifier?: string;
  host: string;
  port: number;
  deadline: number;
  policy: PolicyName;
  maxQueued?: number;
  maxTexts?: number;
  maxBodyMib: number;
  apiKey?: string;
  quiet?: boolean;
  json?: boolean;
}

type PolicyName = 'slack' | 'paper' | { staticLevel: number };

/** A body that comes slower than this is no request. */
const requestTimeoutMs = 30_000;

const example = `
Examples:
  elasticlm serve models/minilm-elastic --precision bf16 --deadline 100
  curl -s localhost:8080/v1/embeddings -H 'content-type: application/json' -d '{"input":"how do I open a file?"}'`;

export function serveCommand(): Command {
  const command = new Command('serve')
    .description(
      'an HTTP server for embeddings, reranking and classification that keeps a deadline at any load',
    )
    .argument('[model]', 'folder of the checkpoint that makes embeddings')
    .option('--ranker <model>', 'folder of a cross-encoder')
    .option('--classifier <model>', 'folder of a classifier')
    .option('--host <address>', 'where to listen', '127.0.0.1')
    .addOption(new Option('--port <n>', '0: any free one').argParser(parsePort).default(8080))
    .addOption(
      new Option('--deadline <ms>', 'for requests that name none').argParser(parsePositive).default(200),
    )
    .addOption(
      new Option('--policy <name>', 'slack, paper or static-LEVEL').argParser(parsePolicy).default('slack'),
    )
    .addOption(new Option('--max-queued <n>', 'texts that may wait (default: 10000)').argParser(parseCount))
    .addOption(new Option('--max-texts <n>', 'texts of one request (default: 2048)').argParser(parseCount))
    .addOption(new Option('--max-body-mib <n>', 'longest body').argParser(parsePositive).default(8))
    .addOption(
      new Option('--api-key <key>', 'ask for it as Authorization: Bearer KEY').env('ELASTICLM_API_KEY'),
    )
    .option('--quiet', 'no log');
  return addModelOptions(command).addOption(jsonOption()).addHelpText('after', example).action(serve);
}

async function serve(denser: string | undefined, options: ServeOptions, command: Command): Promise<void> {
  const { ranker, classifier, deadline, maxQueued, maxTexts, apiKey } = options;
  if (denser === undefined && ranker === undefined && classifier === undefined) {
    command.error('error: expected a model, --ranker or --classifier');
  }
  // Only here: the other commands need not wait for a server to load.
  const { default: Fastify } = await import('fastify');
  const { elasticlmPlugin } = await import('../../server/plugin.js');
  const service = await ElasticService.load(
    { denser, ranker, classifier },
    {
      load: loadOptions(options),
      slo: { deadlineMs: deadline },
      policy: policyOf(options.policy, deadline),
      maxQueued,
    },
  );
  const server = Fastify({
    // stdout says where the server listens, and nothing else.
    logger: options.quiet === true ? false : { level: 'info', stream: process.stderr },
    bodyLimit: Math.floor(options.maxBodyMib * 2 ** 20),
    requestTimeout: requestTimeoutMs,
    // Connections that only wait for another request do not hold up the end.
    forceCloseConnections: 'idle',
  });
  const stopped = untilTold(server);
  await server.register(elasticlmPlugin, { service, apiKey, maxTexts });
  try {
    const address = await server.listen({ host: options.host, port: options.port });
    if (options.json === true) printJson({ type: 'listening', address });
    else process.stdout.write(`listening on ${address}\n`);
  } catch (error) {
    await server.close();
    throw error;
  }
  await stopped;
}

/** SIGTERM and SIGINT: no new connection is taken, every accepted request is answered, then the models are freed. */
function untilTold(server: FastifyInstance): Promise<void> {
  let isStopping = false;
  // A client that keeps its connection for another request would keep the server too.
  server.addHook('onSend', (_request, reply, _payload, done) => {
    if (isStopping) void reply.header('connection', 'close');
    done();
  });
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      isStopping = true;
      process.off('SIGTERM', stop);
      process.off('SIGINT', stop);
      server.close().then(resolve, reject);
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
  });
}

function policyOf(name: PolicyName, latencyBoundMs: number): Policy {
  if (name === 'slack') return slackPolicy();
  return name === 'paper' ? paperPolicy({ latencyBoundMs }) : staticPolicy(name.staticLevel);
}

function parsePolicy(text: string): PolicyName {
  if (text === 'slack' || text === 'paper') return text;
  const level = /^static-(.+)$/.exec(text)?.[1];
  if (level !== undefined) return { staticLevel: parseLevel(level) };
  throw new InvalidArgumentError(`expected slack, paper or static-LEVEL, received "${text}".`);
}

function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65_535) return port;
  throw new InvalidArgumentError(`expected a port from 0 to 65535, received "${text}".`);
}
