/** Collects the nodes and constants of an ONNX graph, as plain objects with the field names of `onnx-proto.ts`. */

/** Element types by their numbers in onnx.proto3. */
export const elementTypes = { float: 1, uint8: 2, int8: 3, int32: 6, int64: 7 } as const;

const attributeTypes = { f: 1, i: 2, ints: 7 } as const;
const floatAttributes = ['epsilon', 'scale'];

type Constant = Float32Array | Uint8Array | Int8Array | BigInt64Array;
type Attributes = Record<string, number | number[]>;

/** What a node is, besides its inputs. */
interface NodeParts {
  attributes?: Attributes;
  /** '' are the standard operators, 'com.microsoft' onnxruntime's own */
  domain?: string;
}

export class GraphBuilder {
  readonly nodes: object[] = [];
  readonly initializers: object[] = [];

  /** A constant, row-major; `dims` [] is a scalar. Returns its name. */
  constant(name: string, dims: number[], data: Constant): string {
    const rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.initializers.push({ name, dims, dataType: elementTypeOf(data), rawData });
    return name;
  }

  float(name: string, dims: number[], data: Float32Array): string {
    return this.constant(name, dims, data);
  }

  int64(name: string, values: number[]): string {
    return this.constant(name, [values.length], BigInt64Array.from(values.map(BigInt)));
  }

  /** A node with one output, whose name is returned. */
  node(opType: string, input: string[], attributes: Attributes = {}, domain = ''): string {
    return this.outputs(opType, input, 1, { attributes, domain })[0]!;
  }

  /** A node with several outputs, whose names are returned. */
  outputs(opType: string, input: string[], count: number, parts: NodeParts = {}): string[] {
    const { attributes = {}, domain = '' } = parts;
    const name = `${opType}_${this.nodes.length}`;
    const output = Array.from({ length: count }, (_, i) => (i === 0 ? name : `${name}_${i}`));
    const attribute = Object.entries(attributes).map(([key, value]) => {
      if (Array.isArray(value)) return { name: key, ints: value, type: attributeTypes.ints };
      return floatAttributes.includes(key)
        ? { name: key, f: value, type: attributeTypes.f }
        : { name: key, i: value, type: attributeTypes.i };
    });
    this.nodes.push({ name, opType, input, output, attribute, domain });
    return output;
  }
}

function elementTypeOf(data: Constant): number {
  if (data instanceof Float32Array) return elementTypes.float;
  if (data instanceof Uint8Array) return elementTypes.uint8;
  return data instanceof Int8Array ? elementTypes.int8 : elementTypes.int64;
}

/** [columns, rows] of a [rows, columns] matrix. */
export function transpose(data: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(data.length);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) result[c * rows + r] = data[r * columns + c]!;
  return result;
}

/** Matrices of the same shape side by side: [rows, parts * columns]. */
export function concatColumns(parts: Float32Array[], rows: number, columns: number): Float32Array {
  const result = new Float32Array(rows * columns * parts.length);
  parts.forEach((part, p) => {
    for (let r = 0; r < rows; r++) {
      result.set(part.subarray(r * columns, (r + 1) * columns), r * columns * parts.length + p * columns);
    }
  });
  return result;
}
