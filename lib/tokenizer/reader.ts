import { describeValue, ElasticError } from '../errors.js';
import { IdTable, MAX_ID } from './id-table.js';
import type { KeyTable } from './key-table.js';
import type { Steps } from './steps.js';

const loneSurrogate = /\p{Surrogate}/u;

/** Members between two pauses. */
const MEMBERS_PER_STEP = 256;

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

  *items(): Generator<JsonReader, void, undefined> {
    if (!Array.isArray(this.value)) throw this.invalid('an array');
    for (let index = 0; index < this.value.length; index++) {
      yield new JsonReader(this.value[index], `${this.subject}[${index}]`);
    }
  }

  /** The fields of an object with their names, in the file's order. */
  *entries(): Generator<[string, JsonReader], void, undefined> {
    for (const [name, value] of Object.entries(this.object())) {
      yield [name, new JsonReader(value, `${this.subject}: ${describeValue(name)}`)];
    }
  }

  /** A token-to-id object. A vocabulary has tens of thousands of tokens: no reader is made for each. */
  *idsByToken(): Steps<KeyTable> {
    let table: IdTable;
    if (this.value instanceof IdTable) {
      table = this.value;
    } else {
      table = new IdTable();
      let numMembers = 0;
      for (const [token, id] of Object.entries(this.object())) {
        if (++numMembers % MEMBERS_PER_STEP === 0) yield;
        table.add(token, id);
      }
    }
    if (table.misfit === undefined) return table.keys;
    const { token, value, expected } = table.misfit;
    throw new JsonReader(value, `${this.subject}: ${describeValue(token)}`).invalid(expected);
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
