/** The schedule in virtual time: arrivals, a server that serves them, and what came of it. */
export {
  arrivals,
  meanRate,
  rateAtLoad,
  withMeanRate,
  type Arrival,
  type ArrivalOptions,
  type ArrivalProcess,
  type MmppState,
} from './arrivals.js';
export { LatencyHistogram } from './latency-histogram.js';
export { checkProfile, coefficientsOf, readProfile, type Profile } from './profile.js';
export { RequestLog, type BatchRun, type RequestOutcome, type RequestRecord } from './request-log.js';
export { sequenceWork, type RequestSizes } from './request-sizes.js';
export type { ServiceTruth, SlowPeriod } from './service-times.js';
export { simulate, type SimulationOptions } from './simulate.js';
export { summarize, type LatencySummary, type Summary } from './summary.js';
export { timeSeries, type TimeSeries } from './time-series.js';
export type { TimeUnit } from './timestamps.js';
export { readTrace, Trace, type TraceOptions } from './trace.js';
export type { TraceFormat } from './trace-rows.js';
