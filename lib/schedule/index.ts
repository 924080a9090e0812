/** The elastic schedule: which request runs when, and at which level. */
export { calibrate, type CalibrateOptions, type Measure } from './calibrate.js';
export { CostModel, type CostCoefficients, type CostModelOptions, type LevelCost } from './cost-model.js';
export {
  Dispatcher,
  type Dispatch,
  type DispatcherOptions,
  type NewRequest,
  type Submission,
} from './dispatcher.js';
export {
  ElasticScheduler,
  type Executor,
  type Member,
  type SchedulerOptions,
  type SchedulerStats,
  type Served,
  type Slo,
  type SubmitOptions,
} from './elastic-scheduler.js';
export {
  paperPolicy,
  slackPolicy,
  staticPolicy,
  type Policy,
  type ScheduleState,
  type SlackOptions,
} from './policies/index.js';
export type { Admission, Assignment, LevelQuality, Priority, WaitingRequest, Work } from './types.js';
export {
  arrivals,
  checkProfile,
  coefficientsOf,
  LatencyHistogram,
  meanRate,
  rateAtLoad,
  readProfile,
  readTrace,
  RequestLog,
  sequenceWork,
  simulate,
  summarize,
  timeSeries,
  Trace,
  withMeanRate,
  type Arrival,
  type ArrivalOptions,
  type ArrivalProcess,
  type BatchRun,
  type LatencySummary,
  type MmppState,
  type Profile,
  type RequestOutcome,
  type RequestRecord,
  type RequestSizes,
  type ServiceTruth,
  type SimulationOptions,
  type SlowPeriod,
  type Summary,
  type TimeSeries,
  type TimeUnit,
  type TraceFormat,
  type TraceOptions,
} from './simulator/index.js';
