import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Fastify, { type FastifyInstance } from 'fastify';
import { OpenAIEmbeddings } from '@langchain/openai';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ElasticClassifier, ElasticDenser, ElasticRanker, ElasticService } from '../../lib/index.js';
import { elasticlmPlugin } from '../../lib/server/plugin.js';
import { configOf, evenLevels, writeTinyCheckpoint } from '../support/checkpoint.js';
import { Random } from '../support/random.js';

const elastic = evenLevels(configOf(), [0.5]);
const texts = ['the quick brown fox', 'a lazy dog', 'gene of a cell'];

let scratch: string;
let folders: { denser: string; ranker: string; classifier: string };
let server: FastifyInstance;
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'elasticlm-plugin-'));
  folders = {
    denser: join(scratch, 'encoder'),
    ranker: join(scratch, 'ranker'),
    classifier: join(scratch, 'labels'),
  };
  writeTinyCheckpoint(folders.denser, { elastic });
  writeTinyCheckpoint(folders.ranker, { labels: 1, elastic });
  writeTinyCheckpoint(folders.classifier, { labels: 3, elastic });
  const service = await ElasticService.load(folders, { slo: { deadlineMs: 5000 } });
  server = Fastify({ bodyLimit: 1 << 16 });
  await server.register(elasticlmPlugin, { service, maxTexts: 8 });
  await server.listen({ host: '127.0.0.1', port: 0 });
});
afterAll(async () => {
  await server.close();
  rmSync(scratch, { recursive: true });
});

async function post(
  url: string,
  payload: string | object,
  headers: Record<string, string> = {},
): Promise<{ status: number; json: unknown; headers: Record<string, unknown> }> {
  const answer = await server.inject({
    method: 'POST',
    url,
    payload,
    headers: { 'content-type': 'application/json', ...headers },
  });
  return { status: answer.statusCode, json: answer.json<unknown>(), headers: answer.headers };
}

describe('elasticlmPlugin', () => {
  it("answers OpenAI's client, in floats and in base64", async () => {
    await using denser = await ElasticDenser.load(folders.denser);
    const expected = await denser.encode(texts);
    const { port } = server.server.address() as AddressInfo;
    const client = new OpenAI({ apiKey: 'any', baseURL: `http://127.0.0.1:${port}/v1`, maxRetries: 0 });
    // The client asks for base64 unless it is told not to.
    for (const format of [undefined, 'float'] as const) {
      const { data, usage } = await client.embeddings.create({
        model: 'tiny',
        input: texts,
        ...(format === undefined ? {} : { encoding_format: format }),
      });
      expect(data.flatMap(({ embedding }) => embedding)).toEqual([...expected.data]);
      expect(usage.total_tokens).toBe(expected.totalTokens);
    }
    expect((await client.models.list()).data[0]!.id).toBe('encoder');
  });

  it("answers langchain's embeddings", async () => {
    await using denser = await ElasticDenser.load(folders.denser);
    const { port } = server.server.address() as AddressInfo;
    const embeddings = new OpenAIEmbeddings({
      apiKey: 'any',
      model: 'tiny',
      configuration: { baseURL: `http://127.0.0.1:${port}/v1` },
    });
    const { data } = await denser.encode(texts);
    expect((await embeddings.embedDocuments(texts)).flat()).toEqual([...data]);
    expect(await embeddings.embedQuery(texts[0]!)).toEqual([...data.subarray(0, denser.dims)]);
  });

  it("answers text-embeddings-inference's routes", async () => {
    await using denser = await ElasticDenser.load(folders.denser);
    await using ranker = await ElasticRanker.load(folders.ranker);
    await using classifier = await ElasticClassifier.load(folders.classifier);
    const { data } = await denser.encode(texts[0]!);
    expect((await post('/embed', { inputs: texts[0] })).json).toEqual([[...data]]);
    const ranking = await ranker.rank('fox', texts);
    expect((await post('/rerank', { query: 'fox', texts })).json).toEqual(ranking);
    const withText = await post('/rerank', { query: 'fox', texts, return_text: true });
    expect(withText.json).toEqual(ranking.map((one) => ({ ...one, text: texts[one.index] })));
    const [label] = await classifier.classify([[texts[0]!, texts[1]!]]);
    const predicted = await post('/predict', { inputs: [[texts[0], texts[1]]] });
    expect((predicted.json as object[][])[0]![0]).toEqual({ label: label!.label, score: label!.score });
  });

  it("answers Cohere's and Jina's rerank", async () => {
    await using ranker = await ElasticRanker.load(folders.ranker);
    const ranking = await ranker.rank('fox', texts, { topK: 2 });
    const { json } = await post('/v1/rerank', {
      query: 'fox',
      documents: [texts[0], { text: texts[1] }, texts[2]],
      top_n: 2,
      return_documents: true,
    });
    expect(json).toMatchObject({
      results: ranking.map(({ index, score }) => ({
        index,
        relevance_score: score,
        document: { text: texts[index] },
      })),
    });
  });

  it('takes level bounds, deadline and priority by header, and says what happened', async () => {
    const { headers } = await post(
      '/embed',
      { inputs: texts },
      { 'x-elasticlm-max-level': '0.6', 'x-elasticlm-priority': 'bulk' },
    );
    expect(headers['x-elasticlm-level']).toBe('0.5');
    expect(headers['server-timing']).toMatch(/^queue;dur=[\d.]+, model;dur=[\d.]+$/);
    const beginMs = performance.now();
    const late = await post('/v1/embeddings', { input: texts }, { 'x-elasticlm-deadline-ms': '0.001' });
    expect(performance.now() - beginMs).toBeLessThan(500);
    expect(late.status).toBe(503);
    expect(late.json).toMatchObject({
      error: { type: 'server_error', code: 'ELASTICLM_DEADLINE_UNREACHABLE' },
    });
    expect(Number(late.headers['retry-after'])).toBeGreaterThanOrEqual(1);
  });

  it.each([
    ['/v1/embeddings', {}, 400],
    ['/v1/embeddings', { input: [] }, 400],
    ['/v1/embeddings', { input: [1, 2] }, 400],
    ['/v1/embeddings', { input: { a: 1 } }, 400],
    ['/v1/embeddings', { input: 'x', dimensions: 7 }, 400],
    ['/v1/embeddings', { input: 'x', encoding_format: 'int8' }, 400],
    ['/v1/embeddings', { input: Array<string>(9).fill('x') }, 400],
    ['/v1/embeddings', '{"input": ', 400],
    ['/v1/embeddings', { input: 'x'.repeat(1 << 17) }, 413],
    ['/v1/nothing', {}, 404],
  ])("refuses %s %j with OpenAI's form of an error", async (url, payload, status) => {
    const answer = await post(url, payload);
    expect(answer.status).toBe(status);
    const { error } = answer.json as { error: { message: string; type: string } };
    expect(error.type).toBe('invalid_request_error');
    expect(error.message).not.toBe('');
  });

  it.each([
    ['/embed', { inputs: 5 }, {}],
    ['/embed', { inputs: ['x'], normalize: false }, {}],
    ['/rerank', { query: 'x' }, {}],
    ['/predict', { inputs: [['a', 'b', 'c']] }, {}],
    ['/embed', { inputs: 'x' }, { 'x-elasticlm-deadline-ms': 'soon' }],
    ['/embed', { inputs: 'x' }, { 'x-elasticlm-min-level': '2' }],
    ['/embed', { inputs: 'x' }, { 'x-elasticlm-min-level': '0.7', 'x-elasticlm-max-level': '0.9' }],
    ['/embed', { inputs: 'x' }, { 'x-elasticlm-priority': 'urgent' }],
  ])("refuses %s %j %j with text-embeddings-inference's", async (url, payload, headers) => {
    const { status, json } = await post(url, payload, headers);
    expect([400, 422]).toContain(status);
    expect(json).toMatchObject({ error_type: 'Validation' });
  });

  it('survives bodies of any bytes, and answers each', async () => {
    const random = new Random(1);
    const body = Buffer.from(JSON.stringify({ input: texts, model: 'x', encoding_format: 'float' }));
    for (let round = 0; round < 2000; ++round) {
      const damaged = Buffer.from(body);
      for (let count = random.integer(1, 4); count > 0; --count) {
        damaged[random.integer(0, damaged.length - 1)] = random.integer(0, 255);
      }
      const { statusCode } = await server.inject({
        method: 'POST',
        url: '/v1/embeddings',
        payload: damaged.subarray(0, random.integer(0, damaged.length)),
        headers: { 'content-type': 'application/json' },
      });
      expect([200, 400]).toContain(statusCode);
    }
    expect((await server.inject({ url: '/health' })).statusCode).toBe(200);
  });

  it('takes lone surrogates and empty texts as any tokenizer does', async () => {
    expect((await post('/embed', '{"inputs": ["\\ud800", ""]}')).status).toBe(200);
  });

  it('gives up what a client that went away had asked for', async () => {
    const { port } = server.server.address() as AddressInfo;
    const payload = JSON.stringify({ inputs: Array<string>(8).fill('fox '.repeat(200)) });
    for (let count = 0; count < 20; ++count) {
      const socket = connect(port, '127.0.0.1');
      await new Promise((resolve) => socket.once('connect', resolve));
      socket.write(
        `POST /embed HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${payload.length}\r\n\r\n${payload}`,
      );
      socket.destroy();
    }
    expect((await post('/embed', { inputs: texts })).status).toBe(200);
    const waiting = (await server.inject({ url: '/metrics' })).body;
    expect(waiting).toMatch(/elasticlm_queue_length\{head="denser"\} 0/);
  });

  it('tells metrics, facts and its OpenAPI document', async () => {
    const metrics = (await server.inject({ url: '/metrics' })).body;
    expect(metrics).toMatch(/elasticlm_requests_total\{head="denser",status="200"\} \d+/);
    expect(metrics).toMatch(/elasticlm_level_texts_total\{head="denser",level="0.5"\} [1-9]/);
    expect(metrics).toMatch(/elasticlm_request_seconds_count\{head="ranker"\} [1-9]/);
    expect((await server.inject({ url: '/info' })).json()).toMatchObject({
      heads: [{ head: 'denser', levels: [1, 0.5] }, {}, {}],
    });
    const { paths } = (await server.inject({ url: '/openapi.json' })).json<{ paths: object }>();
    expect(Object.keys(paths)).toEqual(
      expect.arrayContaining(['/v1/embeddings', '/embed', '/rerank', '/predict', '/v1/rerank']),
    );
  });

  it('asks for its key, without which only its health and metrics are told', async () => {
    const service = await ElasticService.load({ denser: folders.denser }, { slo: { deadlineMs: 5000 } });
    await using guarded = Fastify();
    await guarded.register(elasticlmPlugin, { service, apiKey: 'secret' });
    const ask = async (authorization?: string): Promise<number> =>
      (
        await guarded.inject({
          method: 'POST',
          url: '/embed',
          payload: { inputs: 'x' },
          headers: authorization === undefined ? {} : { authorization },
        })
      ).statusCode;
    expect(await ask()).toBe(401);
    expect(await ask('Bearer wrong')).toBe(401);
    expect(await ask('Bearer secret')).toBe(200);
    expect((await guarded.inject({ url: '/health' })).statusCode).toBe(200);
  });
});
