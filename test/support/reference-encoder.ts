/**
 * The BERT encoder as its paper writes it, one sequence at a time, in float64: the truth that results are held against. It
 * shares no code with the library. In 'f32' every operation rounds to float32 in the most naive order, which is where
 * tolerances come from.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { erf } from './erf.js';
import { readSafetensors, type Tensor, type Tensors } from './safetensors.js';

export type Arithmetic = 'f64' | 'f32';

/** What each layer keeps: positions of heads and of neurons. */
export interface KeptParts {
  heads: readonly (readonly number[])[];
  neurons: readonly (readonly number[])[];
  /** that pooled vectors pass through */
  adapter?: number;
}

export interface ReferenceInput {
  inputIds: Int32Array;
  tokenTypeIds: Int32Array;
}

interface Sizes {
  E: number;
  H: number;
  D: number;
  F: number;
  L: number;
  eps: number;
}

/** Rows of numbers: float64, or float32 where every store rounds. */
type Matrix = Float64Array | Float32Array;

export class ReferenceEncoder {
  readonly sizes: Sizes;
  readonly #tensors: Tensors;
  readonly #prefix: string;
  readonly #arithmetic: Arithmetic;

  constructor(tensors: Tensors, sizes: Sizes, arithmetic: Arithmetic = 'f64') {
    this.#tensors = tensors;
    this.sizes = sizes;
    this.#arithmetic = arithmetic;
    this.#prefix = tensors.has('bert.embeddings.word_embeddings.weight') ? 'bert.' : '';
  }

  /** Reads config.json and all safetensors files of a folder. */
  static load(directory: string, arithmetic: Arithmetic = 'f64'): ReferenceEncoder {
    const config = JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8')) as Record<string, number>;
    const files = readdirSync(directory).filter((name) => name.endsWith('.safetensors'));
    const field = (name: string): number => Number(config[name]);
    const sizes: Sizes = {
      E: field('hidden_size'),
      H: field('num_attention_heads'),
      D: field('hidden_size') / field('num_attention_heads'),
      F: field('intermediate_size'),
      L: field('num_hidden_layers'),
      eps: field('layer_norm_eps'),
    };
    return new ReferenceEncoder(
      readSafetensors(files.map((name) => join(directory, name))),
      sizes,
      arithmetic,
    );
  }

  /** The same weights in other arithmetic. */
  in(arithmetic: Arithmetic): ReferenceEncoder {
    return new ReferenceEncoder(this.#tensors, this.sizes, arithmetic);
  }

  /** All of every layer. */
  everything(): KeptParts {
    const { H, F, L } = this.sizes;
    return { heads: Array<number[]>(L).fill(range(H)), neurons: Array<number[]>(L).fill(range(F)) };
  }

  /** [S, E] last hidden states of one sequence. */
  hidden(input: ReferenceInput, kept: KeptParts = this.everything()): Matrix {
    const { L } = this.sizes;
    let x = this.#embed(input);
    for (let layer = 0; layer < L; ++layer) {
      const name = `encoder.layer.${layer}`;
      const context = this.#attention(x, `${name}.attention`, kept.heads[layer] ?? []);
      x = this.#layerNorm(this.#add(x, context), `${name}.attention.output.LayerNorm`);
      const ffn = this.#ffn(x, name, kept.neurons[layer] ?? []);
      x = this.#layerNorm(this.#add(x, ffn), `${name}.output.LayerNorm`);
    }
    return x;
  }

  /** [E] the first row or the mean of all rows of [S, E], through an adapter and divided by its norm if asked. */
  pool(hidden: Matrix, pooling: 'cls' | 'mean', normalize: boolean, adapter?: number): Matrix {
    const { E } = this.sizes;
    const rows = pooling === 'cls' ? 1 : hidden.length / E;
    const pooled = this.#matrix(E);
    for (let row = 0; row < rows; ++row) {
      for (let e = 0; e < E; ++e) pooled[e] = pooled[e]! + hidden[row * E + e]!;
    }
    for (let e = 0; e < E; ++e) pooled[e] = pooled[e]! / rows;
    const adapted = adapter === undefined ? pooled : this.#add(pooled, this.#adapter(pooled, adapter));
    if (!normalize) return adapted;
    let squares = 0;
    for (const value of adapted) squares = this.#round(squares + this.#round(value * value));
    const norm = this.#round(Math.sqrt(squares));
    return norm === 0 ? adapted : adapted.map((value) => value / norm);
  }

  #adapter(pooled: Matrix, adapter: number): Matrix {
    const { E } = this.sizes;
    return this.#linear(pooled, `elastic_adapters.${adapter}`, range(E), range(E));
  }

  /** [E] tanh of the pooler's dense over the first row. */
  pooler(hidden: Matrix): Matrix {
    const { E } = this.sizes;
    return this.#linear(hidden.slice(0, E), 'pooler.dense', range(E), range(E)).map(Math.tanh);
  }

  /** [numLabels] */
  logits(hidden: Matrix): Matrix {
    const labels = this.#tensor('classifier.weight').shape[0] ?? 0;
    return this.#linear(this.pooler(hidden), 'classifier', range(labels), range(this.sizes.E));
  }

  #embed({ inputIds, tokenTypeIds }: ReferenceInput): Matrix {
    const { E } = this.sizes;
    const table = (name: string): Float32Array => this.#tensor(`embeddings.${name}_embeddings.weight`).values;
    const words = table('word');
    const positions = table('position');
    const types = table('token_type');
    const x = this.#matrix(inputIds.length * E);
    for (let row = 0; row < inputIds.length; ++row) {
      const word = inputIds[row]! * E;
      const type = tokenTypeIds[row]! * E;
      for (let e = 0; e < E; ++e) {
        x[row * E + e] = this.#round(words[word + e]! + types[type + e]!) + positions[row * E + e]!;
      }
    }
    return this.#layerNorm(x, 'embeddings.LayerNorm');
  }

  /** The attention sub-block's output before the residual; null when it keeps no head and so adds nothing. */
  #attention(x: Matrix, name: string, heads: readonly number[]): Matrix | null {
    if (heads.length === 0) return null;
    const { E, D } = this.sizes;
    const columns = heads.flatMap((head) => range(D).map((d) => head * D + d));
    const project = (part: string): Matrix => this.#linear(x, `${name}.self.${part}`, columns, range(E));
    const [q, k, v] = [project('query'), project('key'), project('value')];
    const S = x.length / E;
    const width = columns.length;
    const context = this.#matrix(S * width);
    const scores = this.#matrix(S);
    const scale = this.#round(1 / Math.sqrt(D));
    for (let head = 0; head < heads.length; ++head) {
      for (let row = 0; row < S; ++row) {
        let largest = -Infinity;
        for (let other = 0; other < S; ++other) {
          const product = this.#dot(q, row * width + head * D, k, other * width + head * D, D);
          scores[other] = product * scale;
          largest = Math.max(largest, scores[other]!);
        }
        let total = 0;
        for (let other = 0; other < S; ++other) {
          scores[other] = Math.exp(this.#round(scores[other]! - largest));
          total = this.#round(total + scores[other]!);
        }
        for (let d = 0; d < D; ++d) {
          let sum = 0;
          for (let other = 0; other < S; ++other) {
            sum = this.#round(sum + this.#round(scores[other]! * v[other * width + head * D + d]!));
          }
          context[row * width + head * D + d] = sum / total;
        }
      }
    }
    return this.#linear(context, `${name}.output.dense`, range(E), columns);
  }

  #ffn(x: Matrix, name: string, neurons: readonly number[]): Matrix | null {
    if (neurons.length === 0) return null;
    const { E } = this.sizes;
    const up = this.#linear(x, `${name}.intermediate.dense`, neurons, range(E));
    for (let i = 0; i < up.length; ++i) {
      const value = up[i]!;
      up[i] = this.#round(0.5 * value) * this.#round(1 + this.#round(erf(this.#round(value * Math.SQRT1_2))));
    }
    return this.#linear(up, `${name}.output.dense`, range(E), neurons);
  }

  /** [rows, outputs.length] of y = x Wᵀ + b with the listed rows of W; x holds the listed columns. */
  #linear(x: Matrix, name: string, outputs: readonly number[], inputs: readonly number[]): Matrix {
    const weight = this.#tensor(`${name}.weight`);
    const bias = this.#tensor(`${name}.bias`).values;
    const K = inputs.length;
    const rows = x.length / K;
    const y = this.#matrix(rows * outputs.length);
    const used = this.#matrix(K);
    for (const [place, output] of outputs.entries()) {
      for (let k = 0; k < K; ++k) used[k] = weight.values[output * (weight.shape[1] ?? 0) + inputs[k]!]!;
      for (let row = 0; row < rows; ++row) {
        y[row * outputs.length + place] = this.#dot(x, row * K, used, 0, K) + bias[output]!;
      }
    }
    return y;
  }

  #add(x: Matrix, branch: Matrix | null): Matrix {
    return branch === null ? x : x.map((value, i) => value + branch[i]!);
  }

  #layerNorm(x: Matrix, name: string): Matrix {
    const { E, eps } = this.sizes;
    const gamma = this.#tensor(`${name}.weight`).values;
    const beta = this.#tensor(`${name}.bias`).values;
    const y = this.#matrix(x.length);
    for (let begin = 0; begin < x.length; begin += E) {
      let mean = 0;
      for (let e = 0; e < E; ++e) mean = this.#round(mean + x[begin + e]!);
      mean = this.#round(mean / E);
      let variance = 0;
      for (let e = 0; e < E; ++e) {
        const centred = this.#round(x[begin + e]! - mean);
        variance = this.#round(variance + this.#round(centred * centred));
      }
      const deviation = this.#round(Math.sqrt(this.#round(variance / E) + eps));
      for (let e = 0; e < E; ++e) {
        const normal = this.#round(this.#round(x[begin + e]! - mean) / deviation);
        y[begin + e] = this.#round(normal * gamma[e]!) + beta[e]!;
      }
    }
    return y;
  }

  #dot(a: Matrix, aBegin: number, b: Matrix, bBegin: number, length: number): number {
    let sum = 0;
    if (this.#arithmetic === 'f64') {
      for (let i = 0; i < length; ++i) sum += a[aBegin + i]! * b[bBegin + i]!;
    } else {
      for (let i = 0; i < length; ++i) {
        sum = Math.fround(sum + Math.fround(a[aBegin + i]! * b[bBegin + i]!));
      }
    }
    return sum;
  }

  #round(value: number): number {
    return this.#arithmetic === 'f64' ? value : Math.fround(value);
  }

  #matrix(size: number): Matrix {
    return this.#arithmetic === 'f64' ? new Float64Array(size) : new Float32Array(size);
  }

  #tensor(name: string): Tensor {
    const tensor = this.#tensors.get(`${this.#prefix}${name}`) ?? this.#tensors.get(name);
    if (tensor === undefined) throw new Error(`the checkpoint has no tensor ${name}`);
    return tensor;
  }
}

export function range(size: number): number[] {
  return Array.from({ length: size }, (_, position) => position);
}
