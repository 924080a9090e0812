/** Records of the schedule. Times are milliseconds on the clock of whoever drives it: the real one, or a simulator's. */

/** What a request's service time depends on; sums over its sequences. */
export interface Work {
  sequences: number;
  tokens: number;
  /** of each sequence's tokens squared: attention's part */
  tokenSquares: number;
}

/** One SubLM as a schedule sees it. Lists of them fall by level; a level's position in its list is its levelIdx. */
export interface LevelQuality {
  level: number;
  /** what one request answered at this level is worth, in (0, 1]; falls with the level */
  quality: number;
}

/** Interactive requests go before bulk, which gets what they leave and a share of its own as it ages. */
export type Priority = 'interactive' | 'bulk';

/** One request between its submission and its dispatch. */
export interface WaitingRequest {
  /** rising in order of submission */
  readonly id: number;
  readonly work: Work;
  readonly arrivalMs: number;
  /** Infinity: none */
  readonly deadlineMs: number;
  /** levelIdx of the largest and of the smallest level that it may run at: largest <= smallest */
  readonly largestIdx: number;
  readonly smallestIdx: number;
  readonly priority: Priority;
}

/** A waiting request and the level that it will run at. */
export interface Assignment {
  request: WaitingRequest;
  levelIdx: number;
}

/** Whether a request is taken. One that is not may be tried again after `retryAfterMs`. */
export type Admission = { isAdmitted: true } | { isAdmitted: false; retryAfterMs: number };
