// All routes of `elasticlm serve` inside a Fastify application of one's own, below /ai.
import Fastify from 'fastify';
import { ElasticService } from 'elasticlm';
import { elasticlmPlugin } from 'elasticlm/server';

const [folder, port = '3000'] = process.argv.slice(2);
const service = await ElasticService.load({ denser: folder }, { slo: { deadlineMs: 100 } });

const server = Fastify();
server.get('/', () => ({ hello: 'world' }));
await server.register(elasticlmPlugin, { service, prefix: '/ai' });
await server.listen({ host: '127.0.0.1', port: Number(port) });
console.log(`listening on ${server.server.address().port}`);
process.once('SIGTERM', () => server.close());
