// Embeddings from an Express application: POST /embed { "texts": [...] }.
import express from 'express';
import { ElasticService } from 'elasticlm';

const [folder, port = '3000'] = process.argv.slice(2);
const service = await ElasticService.load({ denser: folder }, { slo: { deadlineMs: 100 } });

const app = express();
app.use(express.json());
app.post('/embed', async (request, response) => {
  const { data, dims, levels } = await service.denser.encode(request.body.texts);
  const vectors = levels.map((_, idx) => [...data.subarray(idx * dims, (idx + 1) * dims)]);
  response.json({ levels, vectors });
});
app.use((error, request, response, next) => {
  if (response.headersSent) return next(error);
  const status = error.retryAfterMs === undefined ? 400 : 503;
  return response.status(status).json({ code: error.code, message: error.message });
});
const server = app.listen(Number(port), '127.0.0.1', () =>
  console.log(`listening on ${server.address().port}`),
);
process.once('SIGTERM', () => server.close(() => service.close()));
