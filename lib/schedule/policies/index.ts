/** Policies: static levels, the paper's rule, and ours. */
export type { Policy, ScheduleState } from './policy.js';
export { levelIdxOf, staticPolicy } from './static-policy.js';
export { paperPolicy } from './paper-policy.js';
export { slackPolicy, type SlackOptions } from './slack-policy.js';
