#!/usr/bin/python3
"""export.py NAME DIR: one model of the zoo as PyTorch exports it, DIR/model.onnx, and inputs, DIR/CASE/in/INPUT.npy. `export.py` alone lists the names.

Every parameter and BatchNorm statistic is drawn again from one seed: a freshly built mobilenet or vit answers (almost) zero to
everything, and any runtime that multiplies by zero would agree. Outputs must be of order 1 and differ between the rows of a batch, or
nothing is written.
"""
import math
import os
import sys
import warnings

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision

# -- architectures that torchvision does not have --------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads, self.size = heads, d // heads
        self.query, self.key, self.value, self.out = (nn.Linear(d, d) for _ in range(4))

    def split(self, x):
        return x.view(x.size()[:-1] + (self.heads, self.size)).permute(0, 2, 1, 3)

    def forward(self, x, bias):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(self.size) + bias
        y = torch.matmul(scores.softmax(-1), v).permute(0, 2, 1, 3).contiguous()
        return self.out(y.view(y.size()[:-2] + (self.heads * self.size,)))


class EncoderLayer(nn.Module):
    def __init__(self, d, heads, wide):
        super().__init__()
        self.attention, self.norm1, self.norm2 = Attention(d, heads), nn.LayerNorm(d, eps=1e-12), nn.LayerNorm(d, eps=1e-12)
        self.up, self.down = nn.Linear(d, wide), nn.Linear(wide, d)

    def forward(self, x, bias):
        x = self.norm1(self.attention(x, bias) + x)
        return self.norm2(self.down(F.gelu(self.up(x))) + x)


class Encoder(nn.Module):
    """The BERT family: token, position and type embeddings, layers that normalise last, attention masked by adding a large negative number."""

    def __init__(self, d, layers, heads, classes=None, words=30522, places=512):
        super().__init__()
        self.words, self.places, self.types = nn.Embedding(words, d), nn.Embedding(places, d), nn.Embedding(2, d)
        self.norm = nn.LayerNorm(d, eps=1e-12)
        self.layers = nn.ModuleList(EncoderLayer(d, heads, 4 * d) for _ in range(layers))
        self.head = nn.Sequential(nn.Linear(d, d), nn.Tanh(), nn.Linear(d, classes)) if classes else None
        self.register_buffer("numbers", torch.arange(places)[None])

    def forward(self, input_ids, attention_mask):
        place = self.places(self.numbers[:, : input_ids.size(1)])
        x = self.norm(self.words(input_ids) + self.types(torch.zeros_like(input_ids)) + place)
        bias = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        for layer in self.layers:
            x = layer(x, bias)
        if self.head is not None:
            return self.head(x[:, 0])
        # a sentence embedding: the mean over the tokens that are there, of length sqrt(d) so that its elements are of order 1
        m = attention_mask[:, :, None].expand(x.size()).to(x.dtype)
        y = (x * m).sum(1) / torch.clamp(m.sum(1), min=1e-9)
        return F.normalize(y, p=2, dim=1) * math.sqrt(y.size(-1))


class Conv1D(nn.Module):
    """GPT-2's linear layer: its weight is [in, out], and it runs on a matrix."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(n_in, n_out)), nn.Parameter(torch.empty(n_out))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(x.size()[:-1] + (self.bias.numel(),))


class DecoderLayer(nn.Module):
    def __init__(self, d, heads, places):
        super().__init__()
        self.d, self.heads = d, heads
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out, self.up, self.down = Conv1D(d, 3 * d), Conv1D(d, d), Conv1D(d, 4 * d), Conv1D(4 * d, d)
        self.register_buffer("causal", torch.tril(torch.ones(places, places, dtype=torch.bool))[None, None])

    def forward(self, x):
        q, k, v = (t.view(t.size()[:-1] + (self.heads, self.d // self.heads)).permute(0, 2, 1, 3) for t in self.qkv(self.norm1(x)).split(self.d, dim=2))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(v.size(-1))
        n, m = q.size(-2), k.size(-2)
        scores = torch.where(self.causal[:, :, m - n : m, :m], scores, torch.tensor(torch.finfo(scores.dtype).min))
        y = torch.matmul(scores.softmax(-1), v).permute(0, 2, 1, 3).contiguous()
        x = x + self.out(y.view(y.size()[:-2] + (self.d,)))
        h = self.up(self.norm2(x))
        return x + self.down(0.5 * h * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (h + 0.044715 * torch.pow(h, 3.0)))))


class Decoder(nn.Module):
    """GPT-2: layers that normalise first, a causal mask, and the token embedding again as the last matrix."""

    def __init__(self, d=768, layers=12, heads=12, words=50257, places=1024):
        super().__init__()
        self.words, self.places = nn.Embedding(words, d), nn.Embedding(places, d)
        self.layers = nn.ModuleList(DecoderLayer(d, heads, places) for _ in range(layers))
        self.norm = nn.LayerNorm(d)

    def forward(self, input_ids):
        x = self.words(input_ids) + self.places(torch.arange(input_ids.size(1), device=input_ids.device)[None])
        for layer in self.layers:
            x = layer(x)
        return torch.matmul(self.norm(x), self.words.weight.t())


class Translator(nn.Module):
    """nn.Transformer with embeddings, a causal mask for the target and padding masks for the source."""

    def __init__(self, d=128, heads=4, layers=3, words=1000):
        super().__init__()
        self.source, self.target, self.d = nn.Embedding(words, d), nn.Embedding(words, d), d
        self.transformer = nn.Transformer(d, heads, layers, layers, 4 * d, dropout=0.0)
        self.head = nn.Linear(d, words)
        angle = torch.arange(512)[:, None] * torch.exp(torch.arange(0, d, 2) * (-math.log(10000.0) / d))
        self.register_buffer("waves", torch.stack([angle.sin(), angle.cos()], 2).view(512, d))

    def embed(self, table, ids):
        return (table(ids) + self.waves[: ids.size(1)]).transpose(0, 1)

    def forward(self, source, target):
        n = target.size(1)
        causal = torch.triu(torch.full((n, n), float("-inf")), diagonal=1)
        padding = source == 0
        y = self.transformer(
            self.embed(self.source, source), self.embed(self.target, target), tgt_mask=causal, src_key_padding_mask=padding, memory_key_padding_mask=padding
        )
        return self.head(y).transpose(0, 1)


class TextLSTM(nn.Module):
    def __init__(self, words=5000, d=96, hidden=128, classes=5):
        super().__init__()
        self.words, self.rnn, self.head = nn.Embedding(words, d), nn.LSTM(d, hidden, 2, batch_first=True, bidirectional=True), nn.Linear(4 * hidden, classes)

    def forward(self, ids):
        y, (h, c) = self.rnn(self.words(ids))
        return self.head(torch.cat([y.mean(1), h[-2], c[-1]], 1))


class SignalGRU(nn.Module):
    def __init__(self, d=40, hidden=96, classes=12):
        super().__init__()
        self.front, self.rnn, self.head = nn.Conv1d(d, 64, 5, stride=2, padding=2), nn.GRU(64, hidden, 2, bidirectional=True), nn.Linear(2 * hidden, classes)

    def forward(self, x):
        y, h = self.rnn(F.relu(self.front(x)).permute(2, 0, 1))
        return self.head(y.max(0)[0] + torch.cat([h[-2], h[-1]], 1))


class Generator(nn.Module):
    """DCGAN's generator, 64 x 64 pixels."""

    def __init__(self, z=100, f=64):
        super().__init__()
        layers, wide = [], [z, 8 * f, 4 * f, 2 * f, f]
        for i in range(4):
            layers += [nn.ConvTranspose2d(wide[i], wide[i + 1], 4, 2 if i else 1, 1 if i else 0, bias=False), nn.BatchNorm2d(wide[i + 1]), nn.ReLU(True)]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(f, 3, 4, 2, 1, bias=False), nn.Tanh())

    def forward(self, z):
        return self.layers(z)


class Segmenter(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)["out"]


LINEAR = (nn.Linear, nn.Conv2d, nn.Conv1d, Conv1D, nn.ConvTranspose2d)

# -- parameters of order 1 -------------------------------------------------------------------------------------------------------


def draw(model):
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, (nn.BatchNorm2d, nn.LayerNorm)):
                m.weight.uniform_(0.4, 1.0)
                m.bias.normal_(0, 0.2)
            elif isinstance(m, LINEAR):
                m.weight.normal_(0, 1 / math.sqrt(m.weight[0].numel()))  # settled later where forward() is called
            elif isinstance(m, nn.Embedding):
                m.weight.normal_(0, 0.4)
            elif isinstance(m, nn.MultiheadAttention):
                m.in_proj_weight.normal_(0, 1 / math.sqrt(m.embed_dim))
                m.in_proj_bias.normal_(0, 0.1)
            elif isinstance(m, (nn.LSTM, nn.GRU)):
                for p in m.parameters():
                    p.normal_(0, 1.2 / math.sqrt(p.shape[-1]) if p.dim() > 1 else 0.2)
        for name, p in model.named_parameters():
            short = name.rsplit(".", 1)[-1]
            if short == "layer_scale":
                p.uniform_(0.1, 0.5)
            elif short in ("class_token", "pos_embedding", "relative_position_bias_table"):
                p.normal_(0, 0.4)


def settle_linear(m, args, y):
    """Output of variance 1 and of mean (nearly) 0 in every channel."""
    channel = 1 if "Conv" in type(m).__name__ and y.dim() > 2 and not isinstance(m, Conv1D) else y.dim() - 1
    dims, shape = [i for i in range(y.dim()) if i != channel], [-1 if i == channel else 1 for i in range(y.dim())]
    scale = 1 / max(y.std().item(), 1e-6)
    m.weight.mul_(scale)
    y = y * scale
    if m.bias is not None:
        b = m.bias * scale
        m.bias.copy_(torch.randn_like(b) * 0.1 - (y.mean(dims) - b))
        y = y + (m.bias - b).view(shape)
    return y


def settle_norm(m, args, y):
    x = args[0]
    mean, var = x.mean([0, 2, 3]), x.var([0, 2, 3]) + 1e-3
    m.running_mean.copy_(mean + 0.2 * var.sqrt() * torch.randn_like(mean))
    m.running_var.copy_(var * torch.empty_like(var).uniform_(0.6, 1.5))
    return F.batch_norm(x, m.running_mean, m.running_var, m.weight, m.bias, False, 0.0, m.eps)


def randomise(model, args):
    """Drawn weights would still give a constant: with every layer the common part of all rows grows. So each layer in turn is scaled and
    shifted to what these inputs need, and off again by a bit, so that every bias and statistic matters."""
    draw(model)
    hooks = []
    for m in model.modules():
        if isinstance(m, LINEAR):
            hooks.append(m.register_forward_hook(settle_linear))
        elif isinstance(m, nn.BatchNorm2d):
            hooks.append(m.register_forward_hook(settle_norm))
    with torch.no_grad():
        model(*args)
    for h in hooks:
        h.remove()


# -- inputs ----------------------------------------------------------------------------------------------------------------------
# Each is a function of (generator, rows, length); lengths only for what has a second dynamic axis.


def image(side):
    """Waves of a few directions and colours, another picture in every row, and some noise."""

    def make(g, n, t):
        at = np.arange(side, dtype=np.float32) / side
        x = 0.3 * g.standard_normal((n, 3, side, side), np.float32)
        for row in x:
            for _ in range(4):
                u, v, phase, size = g.uniform(-9, 9), g.uniform(-9, 9), g.uniform(0, 6.3, (3, 1, 1)), g.uniform(-1, 1, (3, 1, 1))
                row += (size * np.sin(2 * math.pi * (u * at[:, None] + v * at[None]) + phase)).astype(np.float32)
        return {"image": x}

    return make


def tokens(words, masked=True):
    def make(g, n, t):
        out = {"input_ids": g.integers(1, words, (n, t))}
        if masked:
            out["attention_mask"] = (np.arange(t)[None] < g.integers(t // 2, t + 1, (n, 1))).astype(np.int64)
        return out

    return make


def sentences(words):
    def make(g, n, t):
        source = g.integers(1, words, (n, t))
        source[np.arange(t)[None] >= g.integers(t // 2, t + 1, (n, 1))] = 0
        return {"source": source, "target": g.integers(1, words, (n, t // 2 + 3))}

    return make


# -- the zoo ---------------------------------------------------------------------------------------------------------------------


class Entry:
    def __init__(self, build, inputs, opset, lengths=(0,), axes=None, all_values=False):
        self.build, self.inputs, self.opset, self.lengths, self.all_values = build, inputs, opset, lengths, all_values
        self.axes = axes or {}  # input or output -> names of the dynamic axes after the batch


def vision(name, opset, side=224, **options):
    extra = {k: options.pop(k) for k in ("all_values",) if k in options}
    return Entry(lambda: getattr(torchvision.models, name)(weights=None, **options), image(side), opset, **extra)


TEXT = {"input_ids": ["length"], "attention_mask": ["length"]}
ZOO = {
    "resnet18": vision("resnet18", 13, all_values=True),
    "resnet50": vision("resnet50", 12),
    "vgg16": vision("vgg16", 11),
    "mobilenet_v2": vision("mobilenet_v2", 13),
    "mobilenet_v3_large": vision("mobilenet_v3_large", 14, all_values=True),
    "efficientnet_b0": vision("efficientnet_b0", 15),
    "squeezenet1_1": vision("squeezenet1_1", 9),
    "densenet121": vision("densenet121", 13),
    "googlenet": vision("googlenet", 11, aux_logits=False, init_weights=False),
    "inception_v3": vision("inception_v3", 16, side=299, aux_logits=False, init_weights=False),
    "vit_b_16": vision("vit_b_16", 14, all_values=True),
    "swin_t": vision("swin_t", 16),
    "convnext_tiny": vision("convnext_tiny", 17),
    "deeplabv3_resnet50": Entry(lambda: Segmenter(torchvision.models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21)), image(160), 13),
    "bert_base": Entry(lambda: Encoder(768, 12, 12, classes=4), tokens(30522), 14, (24, 61), TEXT),
    "minilm": Entry(lambda: Encoder(384, 6, 12), tokens(30522), 17, (17, 128), TEXT, all_values=True),
    "gpt2": Entry(Decoder, tokens(50257, masked=False), 13, (9, 40), {"input_ids": ["length"], "output": ["length"]}),
    "seq2seq": Entry(Translator, sentences(1000), 14, (14, 33), {"source": ["length"], "target": ["steps"], "output": ["steps"]}),
    "lstm": Entry(TextLSTM, tokens(5000, masked=False), 14, (11, 40), {"input_ids": ["length"]}, all_values=True),
    "gru": Entry(SignalGRU, lambda g, n, t: {"signal": g.standard_normal((n, 40, t), np.float32)}, 12, (30, 101), {"signal": ["length"]}),
    "dcgan": Entry(Generator, lambda g, n, t: {"z": g.standard_normal((n, 100, 1, 1), np.float32)}, 11),
}


def check_outputs(name, y):
    y = y.double()
    std, between = y.std().item(), (y - y.mean(0, keepdim=True)).std().item()
    if not math.isfinite(std) or not 0.05 <= std <= 20:
        raise SystemExit(f"{name}: outputs have a standard deviation of {std:.3g}, not 0.05 to 20")
    if between < 0.03 * std:
        raise SystemExit(f"{name}: outputs have a standard deviation of {std:.3g}, but only {between:.3g} between the rows of a batch")
    return std, between


def cases(entry):
    """name -> inputs. Row 1 of the batch of three, alone, is the batch of one: so that rows can be compared to the bit."""
    g = np.random.default_rng(7)
    out = {}
    for i, t in enumerate(entry.lengths):
        three = entry.inputs(g, 3, t)
        suffix = f"_{t}" if t else ""
        out["b3" + suffix] = three
        out["b1" + suffix] = {k: v[1:2] for k, v in three.items()}
    return out


def export(name, folder):
    entry = ZOO[name]
    torch.manual_seed(11)
    torch.set_num_threads(max(1, min(4, os.cpu_count() or 1)))
    model = entry.build().eval()
    randomise(model, [torch.from_numpy(a) for a in entry.inputs(np.random.default_rng(7), 3, entry.lengths[0]).values()])
    for case, inputs in cases(entry).items():
        os.makedirs(f"{folder}/{case}/in", exist_ok=True)
        for key, a in inputs.items():
            np.save(f"{folder}/{case}/in/{key}.npy", a)
        if case.startswith("b3"):
            args = tuple(torch.from_numpy(np.ascontiguousarray(a)) for a in inputs.values())
            with torch.no_grad():
                y = model(*args)
            std, between = check_outputs(name, y)
    if entry.all_values:
        open(f"{folder}/all_values", "w").close()
    keys = list(inputs)
    axes = {k: {i: a for i, a in enumerate(["batch"] + entry.axes.get(k, [])) if not (k == "signal" and i == 1)} for k in keys + ["output"]}
    if "signal" in axes:
        axes["signal"] = {0: "batch", 2: "length"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, args, f"{folder}/model.onnx", opset_version=entry.opset, input_names=keys, output_names=["output"], dynamic_axes=axes)
    return std, between


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print("std %.3g, between rows %.3g" % export(sys.argv[1], sys.argv[2]))
    else:
        print("\n".join(ZOO))
