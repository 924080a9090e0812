/**
 * Dynamic quantisation as onnxruntime's `quantize_dynamic` writes it into a graph: activations become u8 with one scale and
 * zero point per tensor at run time (DynamicQuantizeLinear), weights are 8-bit constants, products are MatMulInteger
 * (or QAttention for the fused attention), scaled back to f32. The session's optimiser fuses these further.
 */
import { elementTypes, type GraphBuilder } from './onnx-graph.js';

export interface WeightForm {
  /** s8: symmetric; u8: with a zero point */
  type: 's8' | 'u8';
  /** a scale for every output column, or one for the matrix */
  perChannel: boolean;
}

/** A constant matrix of a graph. */
export interface Matrix {
  name: string;
  /** [inputs, outputs] */
  values: Float32Array;
  inputs: number;
  outputs: number;
}

interface Range {
  low: number;
  high: number;
}

/** Names of a quantised constant's parts. */
interface QuantizedNames {
  weight: string;
  scale: string;
  zeroPoint: string;
}

const maxS8 = 127;
const maxU8 = 255;

export class DynamicQuantizer {
  /** an input of several products is quantised once */
  private readonly activations = new Map<string, string[]>();

  constructor(
    private readonly graph: GraphBuilder,
    private readonly form: WeightForm,
  ) {}

  /** The f32 product of an f32 activation and a constant. */
  matMul(input: string, matrix: Matrix): string {
    const { graph } = this;
    const [quantized, scale, zeroPoint] = this.activation(input) as [string, string, string];
    const constant = this.constant(matrix);
    const product = graph.node('MatMulInteger', [quantized, constant.weight, zeroPoint, constant.zeroPoint]);
    const scales = graph.node('Mul', [scale, constant.scale]);
    return graph.node('Mul', [graph.node('Cast', [product], { to: elementTypes.float }), scales]);
  }

  /** onnxruntime's fused attention over a quantised QKV projection. */
  attention(
    input: string,
    matrix: Matrix,
    { bias, mask, numHeads }: { bias: string; mask: string; numHeads: number },
  ): string {
    const [quantized, scale, zeroPoint] = this.activation(input) as [string, string, string];
    const constant = this.constant(matrix);
    const inputs = [
      quantized,
      constant.weight,
      bias,
      scale,
      constant.scale,
      mask,
      zeroPoint,
      constant.zeroPoint,
    ];
    return this.graph.node('QAttention', inputs, { num_heads: numHeads }, 'com.microsoft');
  }

  private activation(input: string): string[] {
    let names = this.activations.get(input);
    if (names === undefined) {
      names = this.graph.outputs('DynamicQuantizeLinear', [input], 3);
      this.activations.set(input, names);
    }
    return names;
  }

  private constant({ name, values, inputs, outputs }: Matrix): QuantizedNames {
    const { graph, form } = this;
    const ranges = rangesOf(values, form.perChannel ? outputs : 1);
    const numbers = ranges.map((range) => scaleOf(range, form.type));
    const integers = form.type === 's8' ? new Int8Array(values.length) : new Uint8Array(values.length);
    const [low, high] = form.type === 's8' ? [-maxS8, maxS8] : [0, maxU8];
    for (let i = 0; i < values.length; i++) {
      const { scale, zeroPoint } = numbers[form.perChannel ? i % outputs : 0]!;
      integers[i] = Math.min(high, Math.max(low, Math.round(values[i]! / scale) + zeroPoint));
    }
    const dims = form.perChannel ? [outputs] : [];
    const zeroPoints = numbers.map(({ zeroPoint }) => zeroPoint);
    return {
      weight: graph.constant(`${name}.quantized`, [inputs, outputs], integers),
      scale: graph.float(
        `${name}.scale`,
        dims,
        Float32Array.from(numbers, ({ scale }) => scale),
      ),
      zeroPoint: graph.constant(
        `${name}.zero_point`,
        dims,
        form.type === 's8' ? Int8Array.from(zeroPoints) : Uint8Array.from(zeroPoints),
      ),
    };
  }
}

/** Zero lies in every range, so that it is stored exactly. */
function rangesOf(values: Float32Array, columns: number): Range[] {
  const ranges = Array.from({ length: columns }, () => ({ low: 0, high: 0 }));
  for (let i = 0; i < values.length; i++) {
    const range = ranges[i % columns]!;
    const value = values[i]!;
    if (value < range.low) range.low = value;
    else if (value > range.high) range.high = value;
  }
  return ranges;
}

function scaleOf({ low, high }: Range, type: WeightForm['type']): { scale: number; zeroPoint: number } {
  if (type === 's8') return { scale: Math.max(-low, high) / maxS8 || 1, zeroPoint: 0 };
  const scale = (high - low) / maxU8 || 1;
  return { scale, zeroPoint: Math.round(-low / scale) };
}
