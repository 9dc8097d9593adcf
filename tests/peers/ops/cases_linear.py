"""Products of matrices, float and integer, sums over indices, determinants."""
import numpy as np

from lib import BFLOAT16, Typed
from values import FLOATS, Values, cycle, i64

PRODUCTS = [((3, 4), (4, 5)), ((1, 1), (1, 1)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((0, 4), (4, 5)),
            ((3, 4), (4, 0)), ((3, 0), (0, 5)), ((33, 67), (67, 129)), ((1, 257), (257, 65)), ((130, 17), (17, 1)), ((2, 3, 1, 7), (1, 3, 7, 9)), ((4,), (2, 4, 3)), ((2, 3, 4), (4,))]  # fmt: skip


def matmul(S):
    v, opsets = Values("MatMul"), cycle([9, 1, 13])
    for a, b in PRODUCTS:
        for consts in ([], [1]):
            S.case("MatMul", opset=next(opsets), inputs=[v.f(*a), v.f(*b)], consts=consts)
    for dtype in (np.float64, np.float16, np.int32, np.int64, np.uint32, np.uint64):
        S.case("MatMul", opset=13, inputs=[v.any((3, 17), dtype), v.any((17, 5), dtype)], tol="sum16" if dtype == np.float16 else None)
    S.case("MatMul", opset=13, inputs=[v.f(9, 33), v.f(33, 5)], consts=[0])
    S.case("MatMul", opset=13, inputs=[Typed(v.f(3, 7), BFLOAT16), Typed(v.f(7, 5), BFLOAT16)], out_types=[BFLOAT16])


def gemm(S):
    v, opsets = Values("Gemm"), cycle([9, 7, 11, 13])
    for m, k, n in [(3, 4, 5), (1, 1, 1), (1, 67, 33), (17, 33, 65), (130, 7, 1), (0, 4, 5), (3, 4, 0)]:
        for ta in (0, 1):
            for tb in (0, 1):
                a, b = v.f(*((k, m) if ta else (m, k))), v.f(*((n, k) if tb else (k, n)))
                attrs = {**({"transA": 1} if ta else {}), **({"transB": 1} if tb else {})}
                scale = {"alpha": round(float(v.f(lo=0.2, hi=2)), 2), "beta": round(float(v.f(lo=0.2, hi=2)), 2)}
                c = [v.f(m, n), v.f(n), v.f(1, n), v.f(m, 1), v.f(1), v.f()][(ta + 2 * tb + m) % 6]
                S.case("Gemm", opset=next(opsets), attrs=attrs, inputs=[a, b, c], consts=[1, 2] if ta else [])
                S.case("Gemm", opset=next(opsets), attrs={**attrs, **scale}, inputs=[a, b, c], consts=[1] if tb else [])
                S.case("Gemm", opset=(11, 13)[ta], attrs={**attrs, "alpha": scale["alpha"]}, inputs=[a, b], consts=[1])
    S.case("Gemm", opset=6, attrs={"broadcast": 1}, inputs=[v.f(3, 4), v.f(4, 5), v.f(5)])
    S.case("Gemm", opset=6, inputs=[v.f(3, 4), v.f(4, 5), v.f(3, 5)])
    S.case("Gemm", opset=13, inputs=[v.f(3, 0), v.f(0, 5), v.f(5)])
    S.case("Gemm", opset=13, inputs=[v.f(3, 4), v.f(4, 5), v.f(5)], attrs={"beta": 0.0})
    for dtype in (np.float64, np.float16):
        S.case("Gemm", opset=13, inputs=[v.f(3, 17, dtype=dtype), v.f(17, 5, dtype=dtype), v.f(5, dtype=dtype)], tol="sum16" if dtype == np.float16 else None)


def einsum(S):
    v = Values("Einsum")
    size = dict(zip("abcdefghijknqsvuwxyz", (2, 3, 4, 5, 2, 3, 4, 2, 3, 4, 5, 2, 3, 4, 5, 2, 3, 4, 5, 2)))
    for equation in ["ij,jk->ik", "ij,jk", "ij->ji", "ji", "ii->i", "ii", "ij->", "ij->i", "ij->j", "i,j->ij", "i,i->", "ij,ij->ij", "ij,ij->", "bij,bjk->bik", "bij,bkj->bik", "abc,abd->acd", "abcd,abed->abce", "bhqd,bhkd->bhqk",
                     "bhqk,bhkd->bqhd", "ijk,jil->kl", "ij,jk,kn->in", "i,ij,j->", "ab,cd->acbd", "abab->ab", "a,->a", "ij, jk -> ik"]:  # fmt: skip
        shapes = [[size.get(c, 3) for c in term.strip()] for term in equation.split("->")[0].split(",")]
        S.case("Einsum", opset=12, attrs={"equation": equation}, inputs=[v.f(*s) for s in shapes])
    for equation, shapes in [("...ij,...jk->...ik", [(2, 3, 4), (2, 4, 5)]), ("...ij,jk->...ik", [(2, 3, 4), (4, 5)]), ("...i->...", [(2, 3, 4)]), ("i...->...i", [(2, 3, 4)]), ("...,...->...", [(3, 4), (3, 4)]),
                             ("b...d,d->b...", [(2, 3, 4, 5), (5,)]), ("...ij,...jk", [(3, 1, 2, 4), (5, 4, 2)])]:  # fmt: skip
        S.case("Einsum", opset=12, attrs={"equation": equation}, inputs=[v.f(*s) for s in shapes])
    for dtype in (np.float64, np.int32, np.int64):
        S.case("Einsum", opset=12, attrs={"equation": "bij,bjk->bik"}, inputs=[v.any((2, 3, 4), dtype), v.any((2, 4, 5), dtype)])


def det(S):
    v, opsets = Values("Det"), cycle([11, 22])
    for shape in [(1, 1), (2, 2), (3, 3), (4, 4), (7, 7), (16, 16), (3, 2, 2), (2, 3, 3, 3), (0, 3, 3), (1, 5, 5)]:
        S.case("Det", opset=next(opsets), inputs=[v.f(*shape)], tol="sum")
        S.case("Det", opset=next(opsets), inputs=[v.f(*shape, lo=0.5, hi=2)], tol="sum")
    S.case("Det", opset=11, inputs=[np.array([[0, 1], [1, 0]], np.float32)])
    S.case("Det", opset=11, inputs=[np.array([[1, 2], [2, 4]], np.float32)])
    S.case("Det", opset=11, inputs=[np.eye(5, dtype=np.float32)[[1, 0, 2, 4, 3]]])


def integers(S):
    v, opsets = Values("MatMulInteger"), cycle([10, 13, 21])
    full = {np.uint8: (0, 255), np.int8: (-128, 127)}
    for n, (a, b) in enumerate(PRODUCTS):
        for at, bt in ((np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8), (np.int8, np.uint8))[n % 2 * 2 : n % 2 * 2 + 2]:
            x, y = v.i(a, *full[at], at), v.i(b, *full[bt], bt)
            if len(a) > 1 and len(b) > 1:
                S.case("MatMulInteger", opset=next(opsets), inputs=[x, y], consts=[1])
                S.case("MatMulInteger", opset=next(opsets), inputs=[x, y, v.i((), *full[at], at), v.i((), *full[bt], bt)], consts=[1, 2, 3] if n % 3 else [])
                if len(b) == 2 and b[1]:
                    S.case("MatMulInteger", opset=next(opsets), inputs=[x, y, v.i((), *full[at], at), v.i((b[1],), *full[bt], bt)], consts=[1, 2, 3])
                scale = [np.float32(0.02), v.i((), *full[at], at), np.float32(0.01), v.i((), *full[bt], bt), np.float32(0.02 * 0.01 * 74 * 74 * np.sqrt(max(a[-1], 1)) / 60), v.i((), *full[at], at)]
                S.case("QLinearMatMul", opset=(10, 13)[n % 2], inputs=[x, scale[0], scale[1], y, *scale[2:]], consts=list(range(1, 8)) if n % 3 else [1, 2, 4, 5, 6, 7], tol="exact")
                if len(b) == 2 and b[1]:
                    per = [v.f(b[1], lo=0.005, hi=0.02), v.i((b[1],), *full[bt], bt)]
                    S.case("QLinearMatMul", opset=10, inputs=[x, scale[0], scale[1], y, *per, *scale[4:]], consts=list(range(1, 8)), tol="exact")


def cases(S):
    for family in (matmul, gemm, einsum, det, integers):
        family(S)
