#!/usr/bin/python3
"""half.py MODEL.onnx OUT.onnx: the model with every f32 weight, value and port as f16, as converters of trained models write it."""
import sys

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper


def half_tensor(t):
    if t.data_type == TensorProto.FLOAT:
        with np.errstate(over="ignore"):
            a = np.clip(numpy_helper.to_array(t), -65504, 65504).astype(np.float16)
        t.CopyFrom(numpy_helper.from_array(a, t.name))


def half(model):
    graph = model.graph
    keep = {n.input[i] for n in graph.node if n.op_type == "Resize" for i in range(1, len(n.input))}  # roi and scales stay f32
    for t in graph.initializer:
        if t.name not in keep:
            half_tensor(t)
    for node in graph.node:
        if node.output[0] in keep:
            continue
        for a in node.attribute:
            if a.type == onnx.AttributeProto.TENSOR:
                half_tensor(a.t)
            elif node.op_type == "Cast" and a.name == "to" and a.i == TensorProto.FLOAT:
                a.i = TensorProto.FLOAT16
    for v in list(graph.input) + list(graph.output) + list(graph.value_info):
        if v.type.tensor_type.elem_type == TensorProto.FLOAT and v.name not in keep:
            v.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


if __name__ == "__main__":
    onnx.save(half(onnx.load(sys.argv[1])), sys.argv[2])
