/** Long answers as a stream: a thousand vectors as text take far longer than the event loop may be held. */
import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import { Slices } from '../../slices.js';

/** A JSON text with one array in it. */
export interface JsonList {
  /** what stands before its `[` */
  before: string;
  count: number;
  item: (idx: number) => object;
  /** what stands after its `]` */
  after: string;
}

export function sendList(reply: FastifyReply, list: JsonList): FastifyReply {
  return reply.type('application/json; charset=utf-8').send(listStream(list));
}

export function listStream(list: JsonList): Readable {
  return Readable.from(pieces(list), { objectMode: false });
}

async function* pieces({ before, count, item, after }: JsonList): AsyncGenerator<string> {
  const slices = new Slices();
  yield `${before}[`;
  for (let idx = 0; idx < count; ++idx) {
    if (slices.isOver) await slices.next();
    yield `${idx === 0 ? '' : ','}${JSON.stringify(item(idx))}`;
  }
  yield `]${after}`;
}
