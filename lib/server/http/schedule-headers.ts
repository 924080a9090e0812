/** What a request's headers ask of the schedule, and what an answer's say of it. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ScheduleHints, ServedFacts } from '../../heads/index.js';
import { BadRequest } from './errors.js';

export const requestHeaders = {
  deadline: 'x-elasticlm-deadline-ms',
  minLevel: 'x-elasticlm-min-level',
  maxLevel: 'x-elasticlm-max-level',
  priority: 'x-elasticlm-priority',
} as const;

/** @throws BadRequest */
export function scheduleHints(
  request: FastifyRequest,
  onServed: (facts: ServedFacts) => void,
): ScheduleHints {
  const number = (
    name: string,
    isRight: (value: number) => boolean,
    expected: string,
  ): number | undefined => {
    const text = request.headers[name];
    if (text === undefined) return undefined;
    const value = typeof text === 'string' && text.trim() !== '' ? Number(text) : NaN;
    if (isRight(value)) return value;
    throw new BadRequest(`expected ${expected} in the header ${name}, received ${JSON.stringify(text)}`);
  };
  const isLevel = (value: number): boolean => value > 0 && value <= 1;
  return {
    deadlineMs: number(
      requestHeaders.deadline,
      (value) => value > 0 && value < Infinity,
      'milliseconds above 0',
    ),
    minLevel: number(requestHeaders.minLevel, isLevel, 'a level in (0, 1]'),
    maxLevel: number(requestHeaders.maxLevel, isLevel, 'a level in (0, 1]'),
    priority: priorityOf(request.headers[requestHeaders.priority]),
    onServed,
  };
}

function priorityOf(text: string | string[] | undefined): ScheduleHints['priority'] {
  if (text === undefined || text === 'interactive' || text === 'bulk') return text;
  throw new BadRequest(
    `expected interactive or bulk in the header ${requestHeaders.priority}, received ${JSON.stringify(text)}`,
  );
}

/** The smallest level that a text of the request ran at, and where its time went. */
export function describeServed(reply: FastifyReply, { levels, queueDelayMs, serviceMs }: ServedFacts): void {
  if (levels.length === 0) return;
  void reply.headers({
    'x-elasticlm-level': String(Math.min(...levels)),
    'x-elasticlm-queue-ms': queueDelayMs.toFixed(3),
    'x-elasticlm-service-ms': serviceMs.toFixed(3),
    'server-timing': `queue;dur=${queueDelayMs.toFixed(3)}, model;dur=${serviceMs.toFixed(3)}`,
  });
}
