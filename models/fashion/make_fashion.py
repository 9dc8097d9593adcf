#!/usr/bin/python3
"""Train, quantize and write models/fashion/1/model.onnx.zst: a Fashion-MNIST classifier as int8 QDQ ONNX.

Needs Debian's python3-torch, python3-onnx, zstd and dataset-fashion-mnist:
    apt-get install python3-torch python3-onnx zstd dataset-fashion-mnist
    /usr/bin/python3 models/fashion/make_fashion.py          # about 5 minutes on one core

Steps: a LeNet-type CNN with BatchNorm is trained in f32; BatchNorm is folded into the convolutions; activation ranges are
taken from 2,000 training images; weights become s8 with one scale per output channel, activations u8 with one scale per
tensor, biases s32 with scale = activation scale * weight scale. The graph is written node by node, so that what stands in
the file is what stands in this script. The test images are looked at once, at the end.
"""
import argparse
import gzip
import os
import subprocess
import sys

import numpy as np
import onnx
import torch
import torch.nn as nn
from onnx import TensorProto, helper, numpy_helper

DATA = "/usr/share/datasets/fashion-mnist/"
LABELS = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def images(name):
    raw = np.frombuffer(gzip.open(DATA + name).read(), np.uint8, offset=16)
    return (raw.reshape(-1, 1, 28, 28) / 255.0).astype(np.float32)


def labels(name):
    return np.frombuffer(gzip.open(DATA + name).read(), np.uint8, offset=8).astype(np.int64)


def block(c_in, c_out):
    return [nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(), nn.MaxPool2d(2)]


def network():
    return nn.Sequential(*block(1, 24), *block(24, 48), *block(48, 96), nn.Flatten(), nn.Dropout(0.3), nn.Linear(96 * 9, 96), nn.ReLU(), nn.Dropout(0.2), nn.Linear(96, 10))


def train(net, x, y, epochs, batch):
    opt = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    steps = epochs * (len(x) // batch)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 4e-3, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    for epoch in range(epochs):
        net.train()
        order = torch.randperm(len(x))
        total = 0.0
        for i in range(0, len(x) - batch + 1, batch):
            xb, yb = x[order[i : i + batch]], y[order[i : i + batch]]
            if torch.rand(()) < 0.5:
                xb = xb.flip(3)
            dx, dy = (int(v) for v in torch.randint(-1, 2, (2,)))
            xb = torch.roll(xb, (dy, dx), (2, 3))
            opt.zero_grad()
            loss = loss_of(net(xb), yb)
            loss.backward()
            opt.step()
            sched.step()
            total += float(loss) * len(xb)
        print(f"epoch {epoch + 1}/{epochs} loss {total / len(x):.4f}", flush=True)
    net.eval()


def folded_layers(net):
    """[(kind, weight, bias)] with BatchNorm folded into the convolution before it: w' = w * g, b' = beta - mean * g."""
    out = []
    mods = list(net)
    for i, m in enumerate(mods):
        if isinstance(m, nn.Conv2d):
            bn = mods[i + 1]
            g = (bn.weight / torch.sqrt(bn.running_var + bn.eps)).detach().double()
            w = m.weight.detach().double() * g[:, None, None, None]
            out.append(("conv", w.numpy(), (bn.bias.detach().double() - bn.running_mean.double() * g).numpy()))
        elif isinstance(m, nn.Linear):
            out.append(("gemm", m.weight.detach().double().numpy().T.copy(), m.bias.detach().double().numpy()))
    return out


def ranges(layers, x):
    """Largest activation of the input and of each layer's output (before pooling), 99.99th percentile over x; logits: both ends."""
    found = []
    t = torch.tensor(x, dtype=torch.float64)
    for i, (kind, w, b) in enumerate(layers):
        if kind == "conv":
            t = torch.relu(nn.functional.conv2d(t, torch.tensor(w), torch.tensor(b), padding=1))
            found.append((0.0, float(np.quantile(t.numpy(), 0.9999))))
            t = nn.functional.max_pool2d(t, 2)
        else:
            t = t.flatten(1) @ torch.tensor(w) + torch.tensor(b)
            if i + 1 < len(layers):
                t = torch.relu(t)
                found.append((0.0, float(np.quantile(t.numpy(), 0.9999))))
            else:
                found.append((float(t.min()), float(t.max())))
    return found


def write_onnx(layers, found, path, accuracy_note):
    nodes, inits = [], []

    def const(name, array):
        inits.append(numpy_helper.from_array(array, name))
        return name

    def activation_params(name, lo, hi):
        scale = np.float32((hi - lo) / 255.0)
        zero = np.uint8(np.clip(round(-lo / float(scale)), 0, 255))
        return const(name + "_s", np.array(scale, np.float32)), const(name + "_z", np.array(zero, np.uint8)), scale

    def q(x, params):
        nodes.append(helper.make_node("QuantizeLinear", [x, params[0], params[1]], [x + "_q"], name="q_" + x))
        return x + "_q"

    def dq(xq, params, name):
        nodes.append(helper.make_node("DequantizeLinear", [xq, params[0], params[1]], [name], name="dq_" + name))
        return name

    params = activation_params("image", 0.0, 1.0)
    current_q = q("image", params)
    for i, (kind, w, b) in enumerate(layers):
        axis = 0 if kind == "conv" else 1
        n = w.shape[axis]
        w_scale = np.maximum(np.abs(np.moveaxis(w, axis, 0).reshape(n, -1)).max(1), 1e-8) / 127
        w_scale = w_scale.astype(np.float32)
        shape = [1] * w.ndim
        shape[axis] = n
        wq = np.clip(np.round(w / w_scale.reshape(shape)), -127, 127).astype(np.int8)
        b_scale = (params[2] * w_scale).astype(np.float32)
        bq = np.round(b / b_scale).astype(np.int32)
        p = f"l{i}"
        x = dq(current_q, params, p + "_x")
        nodes.append(helper.make_node("DequantizeLinear", [const(p + "_w", wq), const(p + "_ws", w_scale), const(p + "_wz", np.zeros(n, np.int8))], [p + "_wf"], name="dq_" + p + "_w", axis=axis))
        nodes.append(helper.make_node("DequantizeLinear", [const(p + "_b", bq), const(p + "_bs", b_scale), const(p + "_bz", np.zeros(n, np.int32))], [p + "_bf"], name="dq_" + p + "_b", axis=0))
        last = i + 1 == len(layers)
        y = p + "_y"
        if kind == "conv":
            nodes.append(helper.make_node("Conv", [x, p + "_wf", p + "_bf"], [p + "_c"], name="conv_" + str(i), kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
            nodes.append(helper.make_node("Relu", [p + "_c"], [y], name="relu_" + str(i)))
        else:
            nodes.append(helper.make_node("Gemm", [x, p + "_wf", p + "_bf"], [p + "_c" if not last else y], name="fc_" + str(i)))
            if not last:
                nodes.append(helper.make_node("Relu", [p + "_c"], [y], name="relu_" + str(i)))
        params = activation_params(y, *found[i])
        current_q = q(y, params)
        if kind == "conv":
            f = dq(current_q, params, p + "_pf")
            nodes.append(helper.make_node("MaxPool", [f], [p + "_p"], name="pool_" + str(i), kernel_shape=[2, 2], strides=[2, 2]))
            current_q = q(p + "_p", params)
            if layers[i + 1][0] == "gemm":
                f = dq(current_q, params, p + "_ff")
                nodes.append(helper.make_node("Flatten", [f], [p + "_f"], name="flatten", axis=1))
                current_q = q(p + "_f", params)
    logits = dq(current_q, params, "logits")
    nodes.append(helper.make_node("Softmax", [logits], ["probs"], name="softmax", axis=1))
    graph = helper.make_graph(
        nodes,
        "fashion",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["N", 10])],
        inits,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="make_fashion.py")
    model.ir_version = 7
    helper.set_model_props(model, {"labels": "\n".join(LABELS), "data": "Fashion-MNIST", "note": accuracy_note})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    ap = argparse.ArgumentParser()
    ap.add_argument("--epochs", type=int, default=12)
    ap.add_argument("--out", default=os.path.join(here, "1", "model.onnx"))
    args = ap.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    x, y = images("train-images-idx3-ubyte.gz"), labels("train-labels-idx1-ubyte.gz")
    net = network()
    train(net, torch.tensor(x), torch.tensor(y), args.epochs, 128)
    layers = folded_layers(net)
    write_onnx(layers, ranges(layers, x[:2000]), args.out, "int8 QDQ, per-channel weights; see models/README.md")
    xt, yt = images("t10k-images-idx3-ubyte.gz"), labels("t10k-labels-idx1-ubyte.gz")
    with torch.no_grad():
        right = sum(int((net(torch.tensor(xt[i : i + 1000])).argmax(1) == torch.tensor(yt[i : i + 1000])).sum()) for i in range(0, len(xt), 1000))
    print(f"f32 accuracy on the test images: {right / len(xt):.4f}")
    subprocess.run(["zstd", "-19", "-q", "-f", "--rm", args.out, "-o", args.out + ".zst"], check=True)
    print(args.out + ".zst", os.path.getsize(args.out + ".zst"), "bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
