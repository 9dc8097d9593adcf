"""Arrays for cases: the same every time, from the name of the operator and a counter."""
import zlib

import numpy as np

FLOATS = [np.float32, np.float64, np.float16]
INTS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
TYPES = FLOATS + INTS + [np.bool_]


class Values:
    def __init__(self, name):
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))

    def f(self, *shape, lo=-1, hi=1, dtype=np.float32):
        return self.rng.uniform(lo, hi, shape).astype(dtype)

    def i(self, shape, lo, hi, dtype=np.int64):
        """Integers of lo..hi, both included."""
        return self.rng.integers(lo, hi + 1, shape).astype(dtype)

    def any(self, shape, dtype=np.float32):
        """Values all over a type; small integers for integers of 16 bits and more."""
        dtype = np.dtype(dtype)
        if dtype.kind == "f":
            return self.rng.normal(0, 2, shape).astype(dtype)
        if dtype.kind == "b":
            return self.rng.random(shape) < 0.5
        if dtype.itemsize == 1:
            return self.i(shape, np.iinfo(dtype).min, np.iinfo(dtype).max, dtype)
        return self.i(shape, 0 if dtype.kind == "u" else -1000, 1000, dtype)

    def order(self, n):
        return self.rng.permutation(n)


def i64(*v):
    return np.array(v, np.int64)


def cycle(items):
    """Endless: for attributes that should meet every case in turn."""
    while True:
        yield from items
