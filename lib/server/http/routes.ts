/** The routes of three APIs over one service. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ScheduleHints, TextOrPair } from '../../heads/index.js';
import { packageVersion } from '../../model/index.js';
import type { ElasticService, HeadName } from '../elastic-service.js';
import { BadRequest, type ApiStyle } from './errors.js';
import type { ServiceMetrics } from './metrics.js';
import { sendList } from './json-stream.js';
import { describeServed, scheduleHints } from './schedule-headers.js';
import { schemasOf } from './schemas.js';

export interface RouteParts {
  service: ElasticService;
  metrics: ServiceMetrics;
  maxTexts: number;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** the form of the route's errors */
    api?: ApiStyle;
    head?: HeadName;
    isOpen?: boolean;
  }
}

/** What a head's call is given: how it is scheduled, and when to give up. */
interface CallOptions {
  schedule: ScheduleHints;
  signal: AbortSignal;
}

export function addRoutes(server: FastifyInstance, { service, metrics, maxTexts }: RouteParts): void {
  const schemas = schemasOf(maxTexts);
  const callOptions = (request: FastifyRequest, reply: FastifyReply, head: HeadName): CallOptions => ({
    schedule: scheduleHints(request, (facts) => {
      describeServed(reply, facts);
      metrics.served(head, facts);
      usedTokens.set(request, facts.totalTokens);
    }),
    signal: disconnection(reply),
  });

  if (service.denser !== undefined) addDenserRoutes(server, service.denser, schemas, callOptions);
  if (service.ranker !== undefined) addRankerRoutes(server, service.ranker, schemas, callOptions);
  if (service.classifier !== undefined) addClassifierRoutes(server, service.classifier, schemas, callOptions);

  server.get('/health', { config: { isOpen: true } }, (_, reply) => {
    const isReady = !service.isClosed;
    return reply.code(isReady ? 200 : 503).send({ status: isReady ? 'ok' : 'closing' });
  });
  server.get('/info', { config: { api: 'tei' } }, () => infoOf(service));
  server.get('/metrics', { config: { isOpen: true } }, async (_, reply) => {
    void reply.type(metrics.registry.contentType);
    return metrics.registry.metrics();
  });
}

type CallOptionsOf = (request: FastifyRequest, reply: FastifyReply, head: HeadName) => CallOptions;
type Schemas = ReturnType<typeof schemasOf>;

/** Tokens computed for a request, for the answers that tell them. */
const usedTokens = new WeakMap<FastifyRequest, number>();

function addDenserRoutes(
  server: FastifyInstance,
  denser: NonNullable<ElasticService['denser']>,
  schemas: Schemas,
  callOptions: CallOptionsOf,
): void {
  const modelName = nameOf(denser.model.directory);
  server.post<{ Body: OpenAiEmbeddingsBody }>(
    '/v1/embeddings',
    {
      config: { api: 'openai', head: 'denser' },
      schema: { body: schemas.openAiEmbeddings, tags: ['openai'] },
    },
    async (request, reply) => {
      const { input, encoding_format: format = 'float', dimensions, model } = request.body;
      if (dimensions !== undefined && dimensions !== denser.dims) {
        throw new BadRequest(
          `expected dimensions ${denser.dims}, those of the model, received ${dimensions}`,
        );
      }
      const texts = textsOf(input);
      const { data, dims } = await denser.encode(texts, callOptions(request, reply, 'denser'));
      const tokens = usedTokens.get(request) ?? 0;
      const rest = { model: model ?? modelName, usage: { prompt_tokens: tokens, total_tokens: tokens } };
      return sendList(reply, {
        before: '{"object":"list","data":',
        count: texts.length,
        item: (index) => {
          const row = data.subarray(index * dims, (index + 1) * dims);
          return { object: 'embedding', index, embedding: format === 'base64' ? base64Of(row) : [...row] };
        },
        after: `,${JSON.stringify(rest).slice(1)}`,
      });
    },
  );
  server.get('/v1/models', { config: { api: 'openai' } }, () => ({
    object: 'list',
    data: [{ id: modelName, object: 'model', created: 0, owned_by: 'elasticlm' }],
  }));
  server.post<{ Body: TeiEmbedBody }>(
    '/embed',
    {
      config: { api: 'tei', head: 'denser' },
      schema: { body: schemas.teiEmbed, tags: ['text-embeddings-inference'] },
    },
    async (request, reply) => {
      const { inputs, normalize = true } = request.body;
      if (!normalize)
        throw new BadRequest('expected normalize true, since vectors are of length 1 here', 422);
      const texts = typeof inputs === 'string' ? [inputs] : inputs;
      const { data, dims } = await denser.encode(texts, callOptions(request, reply, 'denser'));
      return sendList(reply, {
        before: '',
        count: texts.length,
        item: (index) => [...data.subarray(index * dims, (index + 1) * dims)],
        after: '',
      });
    },
  );
}

function addRankerRoutes(
  server: FastifyInstance,
  ranker: NonNullable<ElasticService['ranker']>,
  schemas: Schemas,
  callOptions: CallOptionsOf,
): void {
  const modelName = nameOf(ranker.model.directory);
  server.post<{ Body: TeiRerankBody }>(
    '/rerank',
    {
      config: { api: 'tei', head: 'ranker' },
      schema: { body: schemas.teiRerank, tags: ['text-embeddings-inference'] },
    },
    async (request, reply) => {
      const { query, texts, raw_scores: isRaw = false, return_text: withText = false } = request.body;
      const ranking = await ranker.rank(query, texts, {
        ...callOptions(request, reply, 'ranker'),
        ...(isRaw ? { activation: 'identity' } : {}),
      });
      return ranking.map(({ index, score }) => ({
        index,
        score,
        ...(withText ? { text: texts[index] } : {}),
      }));
    },
  );
  server.post<{ Body: RerankBody }>(
    '/v1/rerank',
    { config: { api: 'cohere', head: 'ranker' }, schema: { body: schemas.rerank, tags: ['cohere', 'jina'] } },
    async (request, reply) => {
      const { query, documents, top_n: topK, return_documents: withText = false, model } = request.body;
      const texts = documents.map((document) => (typeof document === 'string' ? document : document.text));
      const ranking = await ranker.rank(query, texts, { ...callOptions(request, reply, 'ranker'), topK });
      const tokens = usedTokens.get(request) ?? 0;
      return {
        id: request.id,
        model: model ?? modelName,
        results: ranking.map(({ index, score }) => ({
          index,
          relevance_score: score,
          ...(withText ? { document: { text: texts[index] } } : {}),
        })),
        usage: { total_tokens: tokens },
      };
    },
  );
}

function addClassifierRoutes(
  server: FastifyInstance,
  classifier: NonNullable<ElasticService['classifier']>,
  schemas: Schemas,
  callOptions: CallOptionsOf,
): void {
  server.post<{ Body: TeiPredictBody }>(
    '/predict',
    {
      config: { api: 'tei', head: 'classifier' },
      schema: { body: schemas.teiPredict, tags: ['text-embeddings-inference'] },
    },
    async (request, reply) => {
      const { inputs, raw_scores: isRaw = false } = request.body;
      const items = (typeof inputs === 'string' ? [inputs] : inputs).map((item): TextOrPair =>
        typeof item === 'string' ? item : item.length === 1 ? item[0] : [item[0], item[1]],
      );
      const options = callOptions(request, reply, 'classifier');
      const scores = isRaw
        ? await classifier
            .logits(items, options)
            .then(({ data, dims }) =>
              items.map((_, index) => [...data.subarray(index * dims, (index + 1) * dims)]),
            )
        : (await classifier.classify(items, options)).map((one) => one.scores);
      const predictions = scores.map((own) =>
        own
          .map((score, idx) => ({ label: classifier.labels[idx]!, score }))
          .sort((a, b) => b.score - a.score),
      );
      return typeof inputs === 'string' ? predictions[0] : predictions;
    },
  );
}

interface OpenAiEmbeddingsBody {
  input: string | string[] | number[] | number[][];
  model?: string;
  encoding_format?: 'float' | 'base64';
  dimensions?: number;
}

interface TeiEmbedBody {
  inputs: string | string[];
  normalize?: boolean;
}

interface TeiRerankBody {
  query: string;
  texts: string[];
  raw_scores?: boolean;
  return_text?: boolean;
}

interface TeiPredictBody {
  inputs: string | (string | [string] | [string, string])[];
  raw_scores?: boolean;
}

interface RerankBody {
  query: string;
  documents: (string | { text: string })[];
  top_n?: number;
  return_documents?: boolean;
  model?: string;
}

/** @throws BadRequest for token ids, which belong to another vocabulary than this model's */
function textsOf(input: OpenAiEmbeddingsBody['input']): string[] {
  if (typeof input === 'string') return [input];
  if (input.every((item) => typeof item === 'string')) return input;
  throw new BadRequest(
    'expected texts in input, received token ids: those of the OpenAI models are not of the vocabulary here',
  );
}

/** Little-endian f32, as OpenAI's clients read it. */
function base64Of(row: Float32Array): string {
  return Buffer.from(row.buffer, row.byteOffset, row.byteLength).toString('base64');
}

/** Fires when the client goes away before it has its answer. */
function disconnection(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort(new Error('the client has disconnected'));
  });
  return gone.signal;
}

function infoOf(service: ElasticService): object {
  const heads = service.heads.map((name) => {
    const { model } = service[name]!;
    const { backend, isa, precision, threads } = model.info();
    return {
      head: name,
      model_id: nameOf(model.directory),
      max_input_length: model.checkpoint.maxLength,
      levels: model.levels.map(({ level }) => level),
      backend,
      isa,
      precision,
      threads,
    };
  });
  return {
    version: packageVersion(),
    model_id: heads[0]!.model_id,
    max_input_length: heads[0]!.max_input_length,
    heads,
  };
}

/** A folder's own name: where it lies is nobody's business. */
function nameOf(directory: string): string {
  const parts = directory.split(/[\\/]/).filter((part) => part !== '');
  const last = parts.at(-1) ?? 'model';
  return last === 'model' ? (parts.at(-2) ?? last) : last;
}
