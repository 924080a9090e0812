import { loadPeer } from './install.js';

/**
 * The part of ONNX's protobuf schema that a BERT graph needs (field numbers from onnx.proto3, IR version 8). Given as data
 * so that protobufjs does the encoding.
 */
const schema = {
  nested: {
    ModelProto: {
      fields: {
        irVersion: { type: 'int64', id: 1 },
        producerName: { type: 'string', id: 2 },
        graph: { type: 'GraphProto', id: 7 },
        opsetImport: { rule: 'repeated', type: 'OperatorSetIdProto', id: 8 },
      },
    },
    OperatorSetIdProto: {
      fields: { domain: { type: 'string', id: 1 }, version: { type: 'int64', id: 2 } },
    },
    GraphProto: {
      fields: {
        node: { rule: 'repeated', type: 'NodeProto', id: 1 },
        name: { type: 'string', id: 2 },
        initializer: { rule: 'repeated', type: 'TensorProto', id: 5 },
        input: { rule: 'repeated', type: 'ValueInfoProto', id: 11 },
        output: { rule: 'repeated', type: 'ValueInfoProto', id: 12 },
      },
    },
    NodeProto: {
      fields: {
        input: { rule: 'repeated', type: 'string', id: 1 },
        output: { rule: 'repeated', type: 'string', id: 2 },
        name: { type: 'string', id: 3 },
        opType: { type: 'string', id: 4 },
        attribute: { rule: 'repeated', type: 'AttributeProto', id: 5 },
        domain: { type: 'string', id: 7 },
      },
    },
    AttributeProto: {
      fields: {
        name: { type: 'string', id: 1 },
        f: { type: 'float', id: 2 },
        i: { type: 'int64', id: 3 },
        ints: { rule: 'repeated', type: 'int64', id: 8, options: { packed: false } },
        type: { type: 'int32', id: 20 },
      },
    },
    TensorProto: {
      fields: {
        dims: { rule: 'repeated', type: 'int64', id: 1, options: { packed: false } },
        dataType: { type: 'int32', id: 2 },
        name: { type: 'string', id: 8 },
        rawData: { type: 'bytes', id: 9 },
      },
    },
    ValueInfoProto: {
      fields: { name: { type: 'string', id: 1 }, type: { type: 'TypeProto', id: 2 } },
    },
    TypeProto: { fields: { tensorType: { type: 'TensorType', id: 1 } } },
    TensorType: {
      fields: { elemType: { type: 'int32', id: 1 }, shape: { type: 'TensorShape', id: 2 } },
    },
    TensorShape: { fields: { dim: { rule: 'repeated', type: 'Dimension', id: 1 } } },
    Dimension: { fields: { dimParam: { type: 'string', id: 2 }, dimValue: { type: 'int64', id: 1 } } },
  },
};

/** The part of protobufjs that is used here; its own types come only with the peers' installation. */
interface Protobuf {
  Root: {
    fromJSON(schema: object): {
      lookupType(name: string): {
        verify(message: object): string | null;
        create(message: object): object;
        encode(message: object): { finish(): Uint8Array };
      };
    };
  };
}

/** Encodes a ModelProto given as a plain object with the field names above. */
export function encodeModel(model: object): Uint8Array {
  const protobuf = loadPeer('protobufjs') as Protobuf;
  const type = protobuf.Root.fromJSON(schema).lookupType('ModelProto');
  const problem = type.verify(model);
  if (problem !== null) throw new Error(`the ONNX graph does not fit its schema: ${problem}`);
  return type.encode(type.create(model)).finish();
}
