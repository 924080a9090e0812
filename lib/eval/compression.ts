/** Data files that were compressed are read as they are: their names tell. */
import { createRequire } from 'node:module';
import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { createGunzip } from 'node:zlib';
import type * as XzDecompress from 'xz-decompress';
import { ElasticError } from '../errors.js';

/** The bytes that `chunks`, those of the file `path`, stand for. @throws ELASTICLM_DATA_INVALID for broken archives */
export function decompress(path: string, chunks: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  if (path.endsWith('.gz')) return unpack(path, 'gzip', gunzip(chunks));
  if (path.endsWith('.xz')) return unpack(path, 'xz', unxz(chunks));
  return chunks;
}

async function* gunzip(chunks: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  const source = Readable.from(chunks);
  const target = createGunzip();
  source.on('error', (error) => target.destroy(error));
  try {
    for await (const chunk of source.pipe(target)) yield chunk as Buffer;
  } finally {
    source.destroy();
  }
}

async function* unxz(chunks: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  // WebAssembly and nothing to compile, kept up by the HTTP Toolkit project; 64 KiB at a time take about 1.5 ms.
  // Required, not imported: a CommonJS module whose exports node cannot tell before it has run. Not called `require`: the
  // CommonJS build writes import.meta.url with the module's own require.
  const requirePackage = createRequire(import.meta.url);
  const { XzReadableStream } = requirePackage('xz-decompress') as typeof XzDecompress;
  const compressed = new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      const next = await chunks.next();
      if (next.done === true) controller.close();
      else controller.enqueue(next.value);
    },
    cancel: async () => {
      await chunks.return(undefined);
    },
  });
  try {
    for await (const chunk of new XzReadableStream(compressed)) {
      // the decoder's buffer is used again for the next piece
      yield Buffer.from(chunk);
    }
  } finally {
    await chunks.return(undefined);
  }
}

async function* unpack(path: string, format: string, bytes: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* bytes;
  } catch (cause) {
    if (cause instanceof ElasticError) throw cause;
    throw ElasticError.of(
      'ELASTICLM_DATA_INVALID',
      { expected: `whole ${format} data`, subject: path, received: (cause as Error).message },
      { cause },
    );
  }
}
