"""Fourier transforms, windows, mel weights."""
import numpy as np

from lib import DOUBLE, FLOAT
from values import Values, cycle, i64


def dft(S):
    v, tol = Values("DFT"), (1e-4, 5e-5)  # of lengths that are no power of two both go through a longer transform
    for n, (shape, axis) in enumerate([((1, 8, 1), 1), ((2, 7, 1), 1), ((3, 16, 2), 1), ((1, 5, 6, 2), 1), ((1, 5, 6, 2), 2), ((2, 3, 4, 1), 1), ((1, 100, 1), 1), ((1, 13, 2), 1), ((1, 1, 1), 1), ((4, 60, 1), 1), ((2, 17, 3, 1), 1)]):
        size = shape[axis]
        for inverse in (0, 1):
            for length in (None, size - 3 if size > 4 else size, size + 3):
                attrs = {"inverse": 1} if inverse else {}
                more = [] if length is None else [i64(length)[0]]
                S.case("DFT", opset=17, attrs={**attrs, "axis": axis}, inputs=[v.f(*shape), *more], consts=[1] if n % 2 else [], tol=tol)
                S.case("DFT", opset=20, attrs=attrs, inputs=[v.f(*shape), more[0] if more else None, np.int64(axis if n % 2 else axis - len(shape))], consts=[1, 2], tol=tol)
        if shape[-1] == 1:
            S.case("DFT", opset=17, attrs={"axis": axis, "onesided": 1}, inputs=[v.f(*shape)], tol=tol)
            S.case("DFT", opset=20, attrs={"onesided": 1}, inputs=[v.f(*shape), None, np.int64(axis)], tol=tol)
    S.case("DFT", opset=20, inputs=[v.f(2, 6, 1)], tol=tol)
    S.case("DFT", opset=17, inputs=[v.f(2, 6, 1, dtype=np.float64)], tol=(1e-10, 1e-12))


def stft(S):
    v = Values("STFT")
    for n, (batch, signal, step, length) in enumerate([(1, 64, 16, 16), (2, 64, 8, 16), (1, 130, 5, 32), (3, 33, 10, 7), (1, 16, 4, 16), (2, 100, 25, 30)]):
        window = v.f(length, lo=0.1, hi=1)
        for onesided in (None, 0, 1):
            attrs = {} if onesided is None else {"onesided": onesided}
            for channels in (1, 2) if onesided == 0 else (1,):
                x = v.f(batch, signal, channels)
                S.case("STFT", opset=17, attrs=attrs, inputs=[x, np.int64(step), window], consts=[1, 2] if n % 2 else [1], tol="sum")
                S.case("STFT", opset=17, attrs=attrs, inputs=[x, np.int64(step), None, np.int64(length)], consts=[1, 3], tol="sum")
                S.case("STFT", opset=21, attrs=attrs, inputs=[x, np.int64(step), window, np.int64(length)], consts=[1, 3], tol="sum")


def windows(S):
    for op in ("HannWindow", "HammingWindow", "BlackmanWindow"):
        opsets = cycle([17, 21])
        for size in (2, 3, 4, 7, 10, 16, 17, 64, 400):
            for periodic in (None, 0, 1):
                if size < 3 and op == "BlackmanWindow":
                    continue  # 0, but for rounding; of one place 0 / 0
                S.case(op, opset=next(opsets), attrs={} if periodic is None else {"periodic": periodic}, inputs=[np.array(size, np.int64 if size % 2 else np.int32)], consts=[0] if size % 3 else [], tol=(1e-4, 1e-6))
        for kind in (DOUBLE, FLOAT):
            S.case(op, opset=17, attrs={"output_datatype": kind}, inputs=[np.int64(9)], tol=(1e-4, 1e-6))


def mel(S):
    v = Values("MelWeightMatrix")
    for n in range(24):
        bins, length = int(v.i((), 1, 20)), int(2 ** v.i((), 4, 9))
        rate = int(v.rng.choice([8000, 16000, 44100]))
        low, high = float(v.f(lo=0, hi=300)), float(rate) * float(v.f(lo=0.3, hi=0.5))
        kind = (np.int64, np.int32)[n % 2]
        S.case("MelWeightMatrix", opset=17, inputs=[kind(bins), kind(length), kind(rate), np.float32(low), np.float32(high)], consts=range(5) if n % 3 else [], tol="sum")
    S.case("MelWeightMatrix", opset=17, attrs={"output_datatype": DOUBLE}, inputs=[np.int64(5), np.int64(64), np.int64(8000), np.float32(0), np.float32(4000)], tol="sum")


def cases(S):
    for family in (dft, stft, windows, mel):
        family(S)
