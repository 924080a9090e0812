/** Prometheus metrics of a service. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { ServedFacts } from '../../heads/index.js';
import type { ElasticService, HeadName } from '../elastic-service.js';

/** From a fraction of a millisecond to what nobody waits for, in seconds: each about twice the one before. */
const secondBuckets = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];

export class ServiceMetrics {
  readonly registry = new Registry();
  readonly #requests: Counter<'head' | 'status'>;
  readonly #latency: Histogram<'head'>;
  readonly #queueDelay: Histogram<'head'>;
  readonly #service: Histogram<'head'>;
  readonly #tokens: Counter<'head'>;

  constructor(service: ElasticService) {
    const registers = [this.registry];
    const histogram = (name: string, help: string): Histogram<'head'> =>
      new Histogram({ name, help, labelNames: ['head'], buckets: secondBuckets, registers });
    this.#requests = new Counter({
      name: 'elasticlm_requests_total',
      help: 'requests answered, by HTTP status',
      labelNames: ['head', 'status'],
      registers,
    });
    this.#latency = histogram('elasticlm_request_seconds', 'from the parsed request to the result');
    this.#queueDelay = histogram(
      'elasticlm_queue_seconds',
      'from submission to the start of the batch, the longest of a request',
    );
    this.#service = histogram('elasticlm_service_seconds', 'of the batch, the longest of a request');
    this.#tokens = new Counter({
      name: 'elasticlm_tokens_total',
      help: 'tokens computed for answered requests',
      labelNames: ['head'],
      registers,
    });
    addScheduleMetrics(service, registers);
  }

  served(head: HeadName, { queueDelayMs, serviceMs, totalTokens }: ServedFacts): void {
    this.#queueDelay.observe({ head }, queueDelayMs / 1000);
    this.#service.observe({ head }, serviceMs / 1000);
    this.#tokens.inc({ head }, totalTokens);
  }

  ended(head: HeadName, status: number, latencyMs: number): void {
    this.#requests.inc({ head, status: String(status) });
    if (status < 400) this.#latency.observe({ head }, latencyMs / 1000);
  }
}

/** What schedules count themselves, read when somebody asks. */
function addScheduleMetrics(service: ElasticService, registers: Registry[]): void {
  const gauge = (name: string, help: string, field: 'waiting' | 'running' | 'slowdown'): void => {
    new Gauge({
      name,
      help,
      labelNames: ['head'],
      registers,
      collect() {
        for (const head of service.heads) this.set({ head }, service.stats(head)![field]);
      },
    });
  };
  gauge('elasticlm_queue_length', 'texts waiting', 'waiting');
  gauge('elasticlm_running', 'texts in the batch that runs', 'running');
  gauge('elasticlm_slowdown', 'what batches take over what the profile says', 'slowdown');
  new Counter({
    name: 'elasticlm_texts_total',
    help: 'texts by how they ended: served in time, late, shed, expired, aborted, failed',
    labelNames: ['head', 'end'],
    registers,
    collect() {
      this.reset();
      for (const head of service.heads) {
        const { served, late, shed, expired, aborted, failed } = service.stats(head)!;
        const ends = { in_time: served - late, late, shed, expired, aborted, failed };
        for (const [end, count] of Object.entries(ends)) this.inc({ head, end }, count);
      }
    },
  });
  new Counter({
    name: 'elasticlm_level_texts_total',
    help: 'texts served, by level',
    labelNames: ['head', 'level'],
    registers,
    collect() {
      this.reset();
      for (const head of service.heads) {
        for (const [level, count] of Object.entries(service.stats(head)!.servedByLevel)) {
          this.inc({ head, level }, count);
        }
      }
    },
  });
}
