// Embeddings from Node's own http server: GET /?q=... answers with a vector and the level that made it.
import { createServer } from 'node:http';
import { ElasticDenser, ModelSchedule } from 'elasticlm';

const [folder, port = '3000'] = process.argv.slice(2);
const denser = await ElasticDenser.load(folder, {
  runner: (model) => ModelSchedule.create(model, { slo: { deadlineMs: 100 } }),
});

const server = createServer(async (request, response) => {
  const query = new URL(request.url, 'http://localhost').searchParams.get('q') ?? '';
  const answer = (status, body) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  try {
    const { data, levels } = await denser.encode(query, { kind: 'query', schedule: { deadlineMs: 50 } });
    answer(200, { level: levels[0], vector: [...data] });
  } catch (error) {
    answer(error.code === 'ELASTICLM_DEADLINE_UNREACHABLE' ? 503 : 500, {
      code: error.code,
      message: error.message,
    });
  }
});
server.listen(Number(port), '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
process.once('SIGTERM', () => server.close(() => denser.close()));
