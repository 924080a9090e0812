import type { EncoderConfig } from '../../lib/types.js';
import { concatColumns, elementTypes, GraphBuilder, transpose } from './onnx-graph.js';
import { encodeModel } from './onnx-proto.js';
import { DynamicQuantizer, type Matrix, type WeightForm } from './onnx-quantize.js';

/**
 * Builds an ONNX graph of a BERT encoder from the same weights that we load, so that onnxruntime and elasticlm compute the
 * same thing, with masked mean pooling and L2 normalisation or down to the hidden states.
 */
export interface GraphForm {
  /**
   * `fused` uses onnxruntime's own contrib operators (Attention, SkipLayerNormalization, BiasGelu), which is what its
   * transformer optimiser produces; `plain` is the standard-operator graph that an exporter produces, left to the
   * session's optimiser.
   */
  style: 'plain' | 'fused';
  /** dynamic int8 in all linear layers; f32 without it */
  quantized?: WeightForm;
  /** [B, E] 'pooled', or what transformers.js expects of a model: [B, S, E] 'last_hidden_state' */
  output: 'pooled' | 'last_hidden_state';
}

/** Gives the f32 values of a checkpoint tensor by its Hugging Face name, row-major. */
export type TensorReader = (name: string) => Float32Array;

interface LayerInput {
  hidden: string;
  mask: string;
  layer: number;
}

class BertGraph {
  private readonly graph = new GraphBuilder();

  private readonly quantizer: DynamicQuantizer | undefined;

  constructor(
    private readonly config: EncoderConfig,
    private readonly read: TensorReader,
    private readonly form: GraphForm,
  ) {
    if (form.quantized !== undefined) this.quantizer = new DynamicQuantizer(this.graph, form.quantized);
  }

  private vector(name: string): string {
    const data = this.read(name);
    return this.graph.float(name, [data.length], data);
  }

  /** A linear layer's weight as MatMul wants it: [inputs, outputs]. */
  private matrix(name: string, outputs: number, inputs: number): Matrix {
    return { name, values: transpose(this.read(name), outputs, inputs), inputs, outputs };
  }

  private product(input: string, matrix: Matrix): string {
    if (this.quantizer !== undefined) return this.quantizer.matMul(input, matrix);
    const { name, values, inputs, outputs } = matrix;
    return this.graph.node('MatMul', [input, this.graph.float(name, [inputs, outputs], values)]);
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

  /** The three projections side by side, as the fused attention wants them. */
  private qkv(prefix: string): { matrix: Matrix; bias: string } {
    const E = this.config.hiddenSize;
    const parts = ['query', 'key', 'value'].map((part) => `${prefix}.attention.self.${part}`);
    const weights = parts.map((part) => transpose(this.read(`${part}.weight`), E, E));
    const biases = parts.map((part) => this.read(`${part}.bias`));
    const values = concatColumns(weights, E, E);
    return {
      matrix: { name: `${prefix}.qkv.weight`, values, inputs: E, outputs: 3 * E },
      bias: this.graph.float(`${prefix}.qkv.bias`, [3 * E], concatColumns(biases, 1, E)),
    };
  }

  private plainAttention(input: LayerInput, prefix: string): string {
    const { graph, config } = this;
    const split = graph.int64(`${prefix}.split`, [0, 0, config.numHeads, config.headDim]);
    const merge = graph.int64(`${prefix}.merge`, [0, 0, config.hiddenSize]);
    const project = (part: string): string => {
      const name = `${prefix}.attention.self.${part}`;
      const product = this.product(
        input.hidden,
        this.matrix(`${name}.weight`, config.hiddenSize, config.hiddenSize),
      );
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
    if (this.form.style === 'plain') return this.plainAttention(input, prefix);
    const { matrix, bias } = this.qkv(prefix);
    const { numHeads } = this.config;
    if (this.quantizer !== undefined)
      return this.quantizer.attention(input.hidden, matrix, { bias, mask: input.mask, numHeads });
    const weight = this.graph.float(matrix.name, [matrix.inputs, matrix.outputs], matrix.values);
    const inputs = [input.hidden, weight, bias, input.mask];
    return this.graph.node('Attention', inputs, { num_heads: numHeads }, 'com.microsoft');
  }

  /** LayerNorm(residual + input W + b) */
  private projectAndNorm(input: string, residual: string, names: { dense: string; norm: string }): string {
    const { graph, config } = this;
    const inputs = names.dense.includes('attention') ? config.hiddenSize : config.intermediateSize;
    const product = this.product(input, this.matrix(`${names.dense}.weight`, config.hiddenSize, inputs));
    const bias = this.vector(`${names.dense}.bias`);
    if (this.form.style === 'plain') {
      return this.layerNorm(graph.node('Add', [graph.node('Add', [product, bias]), residual]), names.norm);
    }
    const norm = [this.vector(`${names.norm}.weight`), this.vector(`${names.norm}.bias`)];
    const operands = [product, residual, ...norm, bias];
    return graph.node('SkipLayerNormalization', operands, { epsilon: config.layerNormEps }, 'com.microsoft');
  }

  private gelu(product: string, biasName: string): string {
    const { graph } = this;
    const bias = this.vector(biasName);
    if (this.form.style === 'fused') return graph.node('BiasGelu', [product, bias], {}, 'com.microsoft');
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
    const up = this.product(
      attended,
      this.matrix(`${name}.weight`, this.config.intermediateSize, this.config.hiddenSize),
    );
    return this.projectAndNorm(this.gelu(up, `${name}.bias`), attended, {
      dense: `${prefix}.output.dense`,
      norm: `${prefix}.output.LayerNorm`,
    });
  }

  private additiveMask(): string {
    const { graph } = this;
    const mask = graph.node('Cast', ['attention_mask'], { to: elementTypes.float });
    const unsqueezed = graph.node('Unsqueeze', [mask, graph.int64('mask.axes', [1, 2])]);
    const inverted = graph.node('Sub', [graph.float('mask.one', [1], Float32Array.of(1)), unsqueezed]);
    return graph.node('Mul', [inverted, graph.float('mask.low', [1], Float32Array.of(-3.4e38))]);
  }

  private meanPool(hidden: string): string {
    const { graph } = this;
    const axis = graph.int64('pool.axis', [1]);
    const weights = graph.node('Unsqueeze', [
      graph.node('Cast', ['attention_mask'], { to: elementTypes.float }),
      graph.int64('pool.last', [2]),
    ]);
    const sum = graph.node('ReduceSum', [graph.node('Mul', [hidden, weights]), axis], { keepdims: 0 });
    const count = graph.node('ReduceSum', [weights, axis], { keepdims: 0 });
    return graph.node('LpNormalization', [graph.node('Div', [sum, count])], { axis: -1, p: 2 });
  }

  encode(): Uint8Array {
    let hidden = this.embeddings();
    const mask =
      this.form.style === 'plain'
        ? this.additiveMask()
        : this.graph.node('Cast', ['attention_mask'], { to: elementTypes.int32 });
    for (let layer = 0; layer < this.config.numLayers; layer++)
      hidden = this.encoderLayer({ hidden, mask, layer });
    const { output } = this.form;
    this.graph.nodes.push({
      name: 'output',
      opType: 'Identity',
      input: [output === 'pooled' ? this.meanPool(hidden) : hidden],
      output: [output],
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
        input: inputs.map((name) => ({ name, type: tensor(elementTypes.int64, ['batch', 'sequence']) })),
        output: [
          {
            name: output,
            type: tensor(
              elementTypes.float,
              output === 'pooled' ? ['batch', 'hidden'] : ['batch', 'sequence', 'hidden'],
            ),
          },
        ],
      },
    });
  }
}

export function buildBertOnnx(config: EncoderConfig, read: TensorReader, form: GraphForm): Uint8Array {
  return new BertGraph(config, read, form).encode();
}
