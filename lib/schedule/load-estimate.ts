/** How much work comes, as the recent past has it. */

/** Time in which the past loses all but 1/e of its weight: a burst is known after a part of it, and a gap of one deadline forgets little. */
const memoryMs = 500;

export class LoadEstimate {
  #work = 0;
  #atMs = -Infinity;

  /** @param workMs that came at `nowMs`, which never falls from call to call */
  add(nowMs: number, workMs: number): void {
    this.#work = this.#work * this.#decay(nowMs) + workMs;
    this.#atMs = nowMs;
  }

  /** ms of work that come in a ms, by an exponential window over the past. */
  at(nowMs: number): number {
    return (this.#work * this.#decay(nowMs)) / memoryMs;
  }

  #decay(nowMs: number): number {
    return Math.exp((this.#atMs - nowMs) / memoryMs);
  }
}
