import type { EncoderConfig } from '../../lib/types.js';
import { encodeModel } from './onnx-proto.js';

/**
 * Builds an ONNX graph of a BERT encoder with masked mean pooling and L2 normalisation from the same weights that we
 * load, so that onnxruntime and elasticlm compute the same thing.
 *
 * `fused` uses onnxruntime's own contrib operators (Attention, SkipLayerNormalization, BiasGelu), which is what its
 * transformer optimiser produces; `plain` is the standard-operator graph that an exporter produces, left to the
 * session's optimiser. The bench runs both and compares against the faster.
 */
export type GraphStyle = 'plain' | 'fused';

/** Gives the f32 values of a checkpoint tensor by its Hugging Face name, row-major. */
export type TensorReader = (name: string) => Float32Array;

const FLOAT = 1;
const INT32 = 6;
const INT64 = 7;
const attributeType = { f: 1, i: 2, ints: 7 } as const;

class GraphBuilder {
  readonly nodes: object[] = [];
  readonly initializers: object[] = [];

  float(name: string, dims: number[], data: Float32Array): string {
    const rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.initializers.push({ name, dims, dataType: FLOAT, rawData });
    return name;
  }

  int64(name: string, values: number[]): string {
    const rawData = new Uint8Array(BigInt64Array.from(values.map(BigInt)).buffer);
    this.initializers.push({ name, dims: [values.length], dataType: INT64, rawData });
    return name;
  }

  node(
    opType: string,
    input: string[],
    attributes: Record<string, number | number[]> = {},
    domain = '',
  ): string {
    const name = `${opType}_${this.nodes.length}`;
    const attribute = Object.entries(attributes).map(([key, value]) => {
      if (Array.isArray(value)) return { name: key, ints: value, type: attributeType.ints };
      const isFloat = key === 'epsilon' || key === 'scale';
      return isFloat
        ? { name: key, f: value, type: attributeType.f }
        : { name: key, i: value, type: attributeType.i };
    });
    this.nodes.push({ name, opType, input, output: [name], attribute, domain });
    return name;
  }
}

function transpose(data: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(data.length);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) result[c * rows + r] = data[r * columns + c]!;
  return result;
}

/** [E, 3E]: the three projections side by side, as the Attention operator and one wide MatMul want them. */
function concatColumns(parts: Float32Array[], rows: number, columns: number): Float32Array {
  const result = new Float32Array(rows * columns * parts.length);
  parts.forEach((part, p) => {
    for (let r = 0; r < rows; r++) {
      result.set(part.subarray(r * columns, (r + 1) * columns), r * columns * parts.length + p * columns);
    }
  });
  return result;
}

interface LayerInput {
  hidden: string;
  mask: string;
  layer: number;
}

class BertGraph {
  private readonly graph = new GraphBuilder();

  constructor(
    private readonly config: EncoderConfig,
    private readonly read: TensorReader,
    private readonly style: GraphStyle,
  ) {}

  private vector(name: string): string {
    const data = this.read(name);
    return this.graph.float(name, [data.length], data);
  }

  /** A linear layer's weight as MatMul wants it: [inputs, outputs]. */
  private matrix(name: string, outputs: number, inputs: number): string {
    return this.graph.float(name, [inputs, outputs], transpose(this.read(name), outputs, inputs));
  }

  private layerNorm(input: string, prefix: string): string {
    const names = [this.vector(`${prefix}.weight`), this.vector(`${prefix}.bias`)];
    return this.graph.node('LayerNormalization', [input, ...names], {
      epsilon: this.config.layerNormEps,
      axis: -1,
    });
  }

  private embeddings(): string {
    const { graph, config } = this;
    const E = config.hiddenSize;
    const table = (name: string, rows: number) => graph.float(name, [rows, E], this.read(name));
    const word = graph.node('Gather', [
      table('embeddings.word_embeddings.weight', config.vocabSize),
      'input_ids',
    ]);
    const type = graph.node('Gather', [
      table('embeddings.token_type_embeddings.weight', config.typeVocabSize),
      'token_type_ids',
    ]);
    const length = graph.node('Gather', [graph.node('Shape', ['input_ids']), graph.int64('one', [1])]);
    const position = graph.node('Slice', [
      table('embeddings.position_embeddings.weight', config.maxPositionEmbeddings),
      graph.int64('zero', [0]),
      length,
    ]);
    return this.layerNorm(
      graph.node('Add', [graph.node('Add', [word, type]), position]),
      'embeddings.LayerNorm',
    );
  }

  private qkvWeights(prefix: string): { weight: string; bias: string } {
    const E = this.config.hiddenSize;
    const parts = ['query', 'key', 'value'].map((part) => `${prefix}.attention.self.${part}`);
    const weights = parts.map((part) => transpose(this.read(`${part}.weight`), E, E));
    const biases = parts.map((part) => this.read(`${part}.bias`));
    const weight = this.graph.float(`${prefix}.qkv.weight`, [E, 3 * E], concatColumns(weights, E, E));
    return { weight, bias: this.graph.float(`${prefix}.qkv.bias`, [3 * E], concatColumns(biases, 1, E)) };
  }

  private plainAttention(input: LayerInput, prefix: string): string {
    const { graph, config } = this;
    const split = graph.int64(`${prefix}.split`, [0, 0, config.numHeads, config.headDim]);
    const merge = graph.int64(`${prefix}.merge`, [0, 0, config.hiddenSize]);
    const project = (part: string): string => {
      const name = `${prefix}.attention.self.${part}`;
      const product = graph.node('MatMul', [
        input.hidden,
        this.matrix(`${name}.weight`, config.hiddenSize, config.hiddenSize),
      ]);
      return graph.node('Reshape', [graph.node('Add', [product, this.vector(`${name}.bias`)]), split]);
    };
    const query = graph.node('Transpose', [project('query')], { perm: [0, 2, 1, 3] });
    const key = graph.node('Transpose', [project('key')], { perm: [0, 2, 3, 1] });
    const value = graph.node('Transpose', [project('value')], { perm: [0, 2, 1, 3] });
    const scale = graph.float(`${prefix}.scale`, [1], Float32Array.of(Math.sqrt(config.headDim)));
    const scores = graph.node('Div', [graph.node('MatMul', [query, key]), scale]);
    const weights = graph.node('Softmax', [graph.node('Add', [scores, input.mask])], { axis: -1 });
    const context = graph.node('Transpose', [graph.node('MatMul', [weights, value])], { perm: [0, 2, 1, 3] });
    return graph.node('Reshape', [context, merge]);
  }

  private attention(input: LayerInput, prefix: string): string {
    if (this.style === 'plain') return this.plainAttention(input, prefix);
    const { weight, bias } = this.qkvWeights(prefix);
    const inputs = [input.hidden, weight, bias, input.mask];
    return this.graph.node('Attention', inputs, { num_heads: this.config.numHeads }, 'com.microsoft');
  }

  /** LayerNorm(residual + input W + b) */
  private projectAndNorm(input: string, residual: string, names: { dense: string; norm: string }): string {
    const { graph, config } = this;
    const inputs = names.dense.includes('attention') ? config.hiddenSize : config.intermediateSize;
    const product = graph.node('MatMul', [
      input,
      this.matrix(`${names.dense}.weight`, config.hiddenSize, inputs),
    ]);
    const bias = this.vector(`${names.dense}.bias`);
    if (this.style === 'plain') {
      return this.layerNorm(graph.node('Add', [graph.node('Add', [product, bias]), residual]), names.norm);
    }
    const norm = [this.vector(`${names.norm}.weight`), this.vector(`${names.norm}.bias`)];
    const operands = [product, residual, ...norm, bias];
    return graph.node('SkipLayerNormalization', operands, { epsilon: config.layerNormEps }, 'com.microsoft');
  }

  private gelu(product: string, biasName: string): string {
    const { graph } = this;
    const bias = this.vector(biasName);
    if (this.style === 'fused') return graph.node('BiasGelu', [product, bias], {}, 'com.microsoft');
    const x = graph.node('Add', [product, bias]);
    const constant = (name: string, value: number) =>
      graph.float(`${biasName}.${name}`, [1], Float32Array.of(value));
    const erf = graph.node('Erf', [graph.node('Div', [x, constant('sqrt2', Math.SQRT2)])]);
    const product2 = graph.node('Mul', [x, graph.node('Add', [erf, constant('one', 1)])]);
    return graph.node('Mul', [product2, constant('half', 0.5)]);
  }

  private encoderLayer(input: LayerInput): string {
    const prefix = `encoder.layer.${input.layer}`;
    const context = this.attention(input, prefix);
    const attended = this.projectAndNorm(context, input.hidden, {
      dense: `${prefix}.attention.output.dense`,
      norm: `${prefix}.attention.output.LayerNorm`,
    });
    const name = `${prefix}.intermediate.dense`;
    const up = this.graph.node('MatMul', [
      attended,
      this.matrix(`${name}.weight`, this.config.intermediateSize, this.config.hiddenSize),
    ]);
    return this.projectAndNorm(this.gelu(up, `${name}.bias`), attended, {
      dense: `${prefix}.output.dense`,
      norm: `${prefix}.output.LayerNorm`,
    });
  }

  private additiveMask(): string {
    const { graph } = this;
    const mask = graph.node('Cast', ['attention_mask'], { to: FLOAT });
    const unsqueezed = graph.node('Unsqueeze', [mask, graph.int64('mask.axes', [1, 2])]);
    const inverted = graph.node('Sub', [graph.float('mask.one', [1], Float32Array.of(1)), unsqueezed]);
    return graph.node('Mul', [inverted, graph.float('mask.low', [1], Float32Array.of(-3.4e38))]);
  }

  private meanPool(hidden: string): string {
    const { graph } = this;
    const axis = graph.int64('pool.axis', [1]);
    const weights = graph.node('Unsqueeze', [
      graph.node('Cast', ['attention_mask'], { to: FLOAT }),
      graph.int64('pool.last', [2]),
    ]);
    const sum = graph.node('ReduceSum', [graph.node('Mul', [hidden, weights]), axis], { keepdims: 0 });
    const count = graph.node('ReduceSum', [weights, axis], { keepdims: 0 });
    return graph.node('LpNormalization', [graph.node('Div', [sum, count])], { axis: -1, p: 2 });
  }

  encode(): Uint8Array {
    let hidden = this.embeddings();
    const mask =
      this.style === 'plain'
        ? this.additiveMask()
        : this.graph.node('Cast', ['attention_mask'], { to: INT32 });
    for (let layer = 0; layer < this.config.numLayers; layer++)
      hidden = this.encoderLayer({ hidden, mask, layer });
    this.graph.nodes.push({
      name: 'output',
      opType: 'Identity',
      input: [this.meanPool(hidden)],
      output: ['pooled'],
    });
    const tensor = (elemType: number, dims: string[]) => ({
      tensorType: { elemType, shape: { dim: dims.map((dimParam) => ({ dimParam })) } },
    });
    const inputs = ['input_ids', 'token_type_ids', 'attention_mask'];
    return encodeModel({
      irVersion: 8,
      producerName: 'elasticlm-bench',
      opsetImport: [
        { domain: '', version: 17 },
        { domain: 'com.microsoft', version: 1 },
      ],
      graph: {
        name: 'bert',
        node: this.graph.nodes,
        initializer: this.graph.initializers,
        input: inputs.map((name) => ({ name, type: tensor(INT64, ['batch', 'sequence']) })),
        output: [{ name: 'pooled', type: tensor(FLOAT, ['batch', 'hidden']) }],
      },
    });
  }
}

export function buildBertOnnx(config: EncoderConfig, read: TensorReader, style: GraphStyle): Uint8Array {
  return new BertGraph(config, read, style).encode();
}
