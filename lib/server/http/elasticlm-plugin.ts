/** The service as a Fastify plugin: `server.register(elasticlmPlugin, { service })`. */
import { createHash, timingSafeEqual } from 'node:crypto';
import swagger from '@fastify/swagger';
import { Ajv } from 'ajv';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { packageVersion } from '../../model/index.js';
import type { ElasticService } from '../elastic-service.js';
import { BadRequest, failureOf, type ApiStyle } from './errors.js';
import { ServiceMetrics } from './metrics.js';
import { addRoutes } from './routes.js';

export interface PluginOptions {
  service: ElasticService;
  /** asked for as `Authorization: Bearer …` by every route but /health, /metrics and /openapi.json; default: none is */
  apiKey?: string | undefined;
  /** texts in one request; default 2048, as OpenAI's */
  maxTexts?: number | undefined;
}

const defaultMaxTexts = 2048;

/**
 * Adds the routes of OpenAI's embeddings, text-embeddings-inference, and Cohere's and Jina's rerank, /health, /info, /metrics and
 * /openapi.json, with errors in each API's own form. Everything stays inside the plugin: a server's other routes are not touched.
 * Closing the server closes the service after its last answer.
 */
export async function elasticlmPlugin(server: FastifyInstance, options: PluginOptions): Promise<void> {
  const { service, apiKey, maxTexts = defaultMaxTexts } = options;
  const metrics = new ServiceMetrics(service);
  const begins = new WeakMap<FastifyRequest, number>();

  await server.register(swagger, {
    openapi: { info: { title: 'ElasticLM', version: packageVersion() } },
  });
  // Fastify's own turns 5 into "5" and "x" into ["x"]: what these APIs refuse would be taken for something else.
  const ajv = new Ajv({ allowUnionTypes: true });
  server.setValidatorCompiler(({ schema }) => ajv.compile(schema as object));
  server.addHook('onRequest', (request, _reply, done) => {
    begins.set(request, performance.now());
    const isOpen = request.routeOptions.config.isOpen === true;
    const isRefused = apiKey !== undefined && !isOpen && !isKey(request.headers.authorization, apiKey);
    done(
      isRefused
        ? new BadRequest('expected the API key in the header Authorization, as Bearer KEY', 401)
        : undefined,
    );
  });
  server.addHook('onResponse', (request, reply, done) => {
    const { head } = request.routeOptions.config;
    if (head !== undefined) metrics.ended(head, reply.statusCode, performance.now() - begins.get(request)!);
    done();
  });
  server.addHook('onClose', () => service.close());
  server.setErrorHandler((error, request, reply) => {
    const { status, retryAfterMs, body } = failureOf(error, styleOf(request));
    if (status >= 500 && status !== 503) request.log.error(error);
    if (retryAfterMs !== undefined) {
      void reply.header('retry-after', String(Math.ceil(retryAfterMs / 1000)));
      void reply.header('retry-after-ms', String(Math.ceil(retryAfterMs)));
    }
    return reply.code(status).send(body);
  });
  server.setNotFoundHandler((request, reply) => {
    const error = new BadRequest(`no route ${request.method} ${request.url}`, 404);
    return reply.code(404).send(failureOf(error, styleOf(request)).body);
  });
  addRoutes(server, { service, metrics, maxTexts });
  server.get('/openapi.json', { config: { isOpen: true }, schema: { hide: true } }, () => server.swagger());
}

/** An unknown path's is what its first part says. */
function styleOf(request: FastifyRequest): ApiStyle {
  return request.routeOptions.config.api ?? (request.url.includes('/v1/') ? 'openai' : 'tei');
}

/** In a time that tells nothing of how much of the key was right. */
function isKey(authorization: string | undefined, key: string): boolean {
  const given = /^Bearer (.+)$/i.exec(authorization ?? '')?.[1];
  if (given === undefined) return false;
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(key));
}
