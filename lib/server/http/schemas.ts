/** What routes take, as JSON schemas: they check requests and make the OpenAPI document. */

const text = { type: 'string' };

/** @param maxItems texts of one request */
export function schemasOf(maxItems: number) {
  const texts = { type: 'array', items: text, minItems: 1, maxItems };
  const oneOrMany = { anyOf: [text, texts] };
  const tokens = { type: 'array', items: { type: 'integer', minimum: 0 }, minItems: 1 };
  const object = (properties: object, required: readonly string[]): object => ({
    type: 'object',
    properties,
    required,
  });
  return {
    openAiEmbeddings: object(
      {
        input: { anyOf: [text, texts, tokens, { type: 'array', items: tokens, minItems: 1, maxItems }] },
        model: text,
        encoding_format: { enum: ['float', 'base64'] },
        dimensions: { type: 'integer', minimum: 1 },
        user: text,
      },
      ['input'],
    ),
    teiEmbed: object({ inputs: oneOrMany, truncate: { type: 'boolean' }, normalize: { type: 'boolean' } }, [
      'inputs',
    ]),
    teiRerank: object(
      {
        query: text,
        texts,
        truncate: { type: 'boolean' },
        raw_scores: { type: 'boolean' },
        return_text: { type: 'boolean' },
      },
      ['query', 'texts'],
    ),
    teiPredict: object(
      {
        inputs: {
          anyOf: [
            text,
            {
              type: 'array',
              items: { anyOf: [text, { type: 'array', items: text, minItems: 1, maxItems: 2 }] },
              minItems: 1,
              maxItems,
            },
          ],
        },
        truncate: { type: 'boolean' },
        raw_scores: { type: 'boolean' },
      },
      ['inputs'],
    ),
    rerank: object(
      {
        model: text,
        query: text,
        documents: {
          type: 'array',
          items: { anyOf: [text, object({ text }, ['text'])] },
          minItems: 1,
          maxItems,
        },
        top_n: { type: 'integer', minimum: 1 },
        return_documents: { type: 'boolean' },
      },
      ['query', 'documents'],
    ),
  };
}
