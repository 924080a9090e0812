import { describeValue, ElasticError } from '../errors.js';

/** Ids are stored as int32. */
const MAX_ID = 2 ** 31 - 1;

const loneSurrogate = /\p{Surrogate}/u;

/**
 * Reads fields of parsed JSON that nobody vouches for. Only own properties count, so a field called `constructor` is as
 * absent as any other; every mismatch is an ELASTICLM_TOKENIZER_INVALID that names the file and the field.
 */
export class JsonReader {
  private constructor(
    private readonly value: unknown,
    /** the file, then the path of fields that leads here */
    readonly subject: string,
  ) {}

  static of(value: unknown, subject: string): JsonReader {
    return new JsonReader(value, subject);
  }

  /** A field of an object; of anything else, an error. */
  field(name: string): JsonReader {
    const value = this.object();
    return new JsonReader(Object.hasOwn(value, name) ? value[name] : undefined, `${this.subject}: ${name}`);
  }

  /** Absent, or null, which JSON files use alike. */
  get isAbsent(): boolean {
    return this.value === undefined || this.value === null;
  }

  get isString(): boolean {
    return typeof this.value === 'string';
  }

  /** Well-formed text: half a surrogate pair can be in no file that is UTF-8. */
  string(): string {
    if (typeof this.value !== 'string') throw this.invalid('a string');
    if (loneSurrogate.test(this.value)) throw this.invalid('text without lone surrogates');
    return this.value;
  }

  boolean(): boolean {
    if (typeof this.value !== 'boolean') throw this.invalid('true or false');
    return this.value;
  }

  /** A vocabulary or token type id. */
  id(): number {
    return this.count(MAX_ID);
  }

  count(max: number = Number.MAX_SAFE_INTEGER): number {
    const { value } = this;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > max) {
      throw this.invalid(`an integer from 0 to ${max}`);
    }
    return value;
  }

  number(): number {
    if (typeof this.value !== 'number') throw this.invalid('a number');
    return this.value;
  }

  items(): JsonReader[] {
    if (!Array.isArray(this.value)) throw this.invalid('an array');
    return this.value.map((item: unknown, index) => new JsonReader(item, `${this.subject}[${index}]`));
  }

  /** The fields of an object with their names, in the file's order. */
  entries(): [string, JsonReader][] {
    return Object.entries(this.object()).map(([name, value]) => [
      name,
      new JsonReader(value, `${this.subject}: ${describeValue(name)}`),
    ]);
  }

  /** The ids of a token-to-id object. A vocabulary has tens of thousands: no reader is made for each. */
  idsByToken(): Map<string, number> {
    const ids = new Map<string, number>();
    for (const [token, id] of Object.entries(this.object())) {
      if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id > MAX_ID) {
        throw new JsonReader(id, `${this.subject}: ${describeValue(token)}`).invalid(
          `an integer from 0 to ${MAX_ID}`,
        );
      }
      if (loneSurrogate.test(token)) throw this.invalid('tokens without lone surrogates');
      ids.set(token, id);
    }
    return ids;
  }

  invalid(expected: string): ElasticError {
    return ElasticError.of('ELASTICLM_TOKENIZER_INVALID', {
      expected,
      subject: this.subject,
      received: this.value === undefined ? 'nothing' : describeValue(this.value),
    });
  }

  unsupported(expected: string): ElasticError {
    return ElasticError.of('ELASTICLM_TOKENIZER_UNSUPPORTED', {
      expected,
      subject: this.subject,
      received: this.value === undefined ? 'nothing' : describeValue(this.value),
      remedy: 'ElasticLM reads the tokenizers of BERT-family checkpoints',
    });
  }

  private object(): Record<string, unknown> {
    if (typeof this.value !== 'object' || this.value === null || Array.isArray(this.value)) {
      throw this.invalid('an object');
    }
    return this.value as Record<string, unknown>;
  }
}
