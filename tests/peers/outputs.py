#!/usr/bin/python3
"""outputs.py MODEL.onnx OUT.onnx: MODEL with the output of every QuantizeLinear as a graph output too.

ONNX Runtime keeps its fused integer operators for such a model: what it replaces is DQ -> op -> Q as a whole, whose only
output is Q's. (With the float value before Q as an output it could not, and would compute in float.)
"""
import sys

import onnx
from onnx import TensorProto, helper


def with_quantized_outputs(model):
    kinds = {i.name: i.data_type for i in model.graph.initializer}
    have = {o.name for o in model.graph.output}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.output[0] not in have:
            kind = kinds[node.input[2]] if len(node.input) > 2 else TensorProto.UINT8
            model.graph.output.append(helper.make_tensor_value_info(node.output[0], kind, None))
    return model


def with_outputs_before_quantization(model):
    """The float value before each QuantizeLinear as a graph output: for a run without optimisations."""
    for name in {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"} - {i.name for i in model.graph.input}:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model


if __name__ == "__main__":
    onnx.save(with_quantized_outputs(onnx.load(sys.argv[1])), sys.argv[2])
