"""Operators on strings: joined, split, changed in case, filtered, counted as n-grams."""
import numpy as np

from values import Values, cycle

WORDS = ["", "a", "Monday", "tuesday", "été", "ÀÉÎ", "straße", "漢字", "a b", "  x ", "ÿ", "1.5", "ЖУК", "ñandú"]


def words(v, shape, of=WORDS):
    return np.array([of[k] for k in v.i((int(np.prod(shape)),), 0, len(of) - 1)], object).reshape(shape)


def string_concat(S):
    v, opsets = Values("StringConcat"), cycle([20, 21])
    for a, b in [
        ((), ()), ((3,), (3,)), ((3,), ()), ((), (4,)), ((3,), (1,)), ((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((2, 3), (2, 1)), ((1,), (2, 3, 2)), ((2, 1, 4), (3, 1)), ((0,), (1,)),
        ((0, 3), (3,)), ((2, 0), (2, 1)), ((1, 1, 1), (5,)), ((17,), (17,)), ((4, 1, 2, 1), (3, 1, 2)),
    ]:  # fmt: skip
        S.case("StringConcat", opset=next(opsets), inputs=[words(v, a), words(v, b)])
        S.case("StringConcat", opset=next(opsets), inputs=[words(v, a), words(v, b)], consts=[int(v.i((), 0, 1))])
    S.case("StringConcat", opset=20, inputs=[np.array(["x" * 5000, ""], object), np.array(["y" * 3000], object)])


def string_normalizer(S):
    v, opsets = Values("StringNormalizer"), cycle([10, 13, 21])
    for x in [(7,), (1,), (1, 6), (1, 1), (12,), (1, 14)]:
        for action in (None, "NONE", "LOWER", "UPPER"):
            for sensitive in (None, 0, 1):
                attrs = {} if action is None else {"case_change_action": action}
                attrs = attrs if sensitive is None else {**attrs, "is_case_sensitive": sensitive}
                stop = [[], ["Monday", "a"], ["monday", "A", "  x "]][len(attrs) if x[-1] > 6 else int(v.i((), 0, 2))]
                S.case("StringNormalizer", opset=next(opsets), attrs={**attrs, **({"stopwords": stop} if stop else {})}, inputs=[words(v, x, WORDS[:4] + WORDS[8:12])])
    days = np.array(["monday", "tuesday", "wednesday", "thursday"], object)
    S.case("StringNormalizer", opset=10, attrs={"case_change_action": "UPPER", "is_case_sensitive": 1, "stopwords": ["monday", "tuesday", "wednesday", "thursday"]}, inputs=[days])
    S.case("StringNormalizer", opset=10, attrs={"case_change_action": "UPPER", "is_case_sensitive": 1, "stopwords": ["monday"]}, inputs=[days])
    S.case("StringNormalizer", opset=10, attrs={"case_change_action": "LOWER", "is_case_sensitive": 0, "stopwords": ["MONDAY"]}, inputs=[days[None]])
    S.case("StringNormalizer", opset=10, attrs={"is_case_sensitive": 0, "stopwords": ["MONDAY", "TUESDAY", "Wednesday", "THURSDAY"]}, inputs=[days[None]])
    for action in ("LOWER", "UPPER"):  # beyond ASCII
        for sensitive in (0, 1):
            S.case("StringNormalizer", opset=13, attrs={"case_change_action": action, "is_case_sensitive": sensitive, "stopwords": ["ÉTÉ", "漢字"]}, inputs=[np.array(WORDS, object)])
            S.case("StringNormalizer", opset=13, attrs={"case_change_action": action, "is_case_sensitive": sensitive, "locale": "en_US.UTF-8"}, inputs=[np.array(WORDS, object)])


def string_split(S):
    v, opsets = Values("StringSplit"), cycle([20, 21])
    lines = ["a,b,c", "", ",", "a,,b", "hello world", " two  spaces ", "x", "été,hiver", "::", "a::b::", ":::", "a b c d e"]
    for x in [(), (3,), (1,), (2, 3), (12,), (2, 1, 3), (0,), (2, 0)]:
        for delimiter in (None, "", ",", "::", " ", "é", "b"):
            for most in (None, 0, 1, 2, 9) if x == (12,) else (None, int(v.i((), 0, 3))):
                attrs = {**({} if delimiter is None else {"delimiter": delimiter}), **({} if most is None else {"maxsplit": most})}
                data = np.array(lines, object) if x == (12,) else words(v, x, lines)
                S.case("StringSplit", opset=next(opsets), attrs=attrs, inputs=[data], n_out=2)
    S.case("StringSplit", opset=20, attrs={"delimiter": ","}, inputs=[np.array(lines, object)], n_out=1)
    S.case("StringSplit", opset=20, attrs={"delimiter": ","}, inputs=[np.array(lines, object)], n_out=[False, True])


def tfidf(S):
    v, opsets = Values("TfIdfVectorizer"), cycle([9, 13, 21])
    pools = {  # pool, ngram_counts, ngram_indexes
        "numbers": ([2, 3, 5, 4, 5, 6, 7, 8, 6, 7], [0, 4], [0, 1, 2, 3, 4, 5, 6]),
        "one": ([2, 3, 5, 4], [0], [3, 1, 0, 2]),
        "three": ([1, 2, 2, 3, 1, 1, 1, 2, 3, 1, 1, 1], [0, 2, 6], [4, 1, 0, 2, 3, 5]),
        "holes": ([5, 7, 7, 8], [0, 2], [6, 0, 2]),
    }
    for pool, counts, places in pools.values():
        longest = len(counts)
        for mode in ("TF", "IDF", "TFIDF"):
            for x in [(12,), (2, 6), (1, 9), (3, 4)]:
                least = int(v.i((), 1, longest))
                attrs = {"mode": mode, "min_gram_length": least, "max_gram_length": longest, "max_skip_count": int(v.i((), 0, 4)), "ngram_counts": counts, "ngram_indexes": places, "pool_int64s": pool}
                if v.rng.random() < 0.6:
                    attrs["weights"] = [float(w) for w in np.round(v.f(len(places), lo=0.1, hi=3), 2)]
                S.case("TfIdfVectorizer", opset=next(opsets), attrs=attrs, inputs=[v.i(x, 1, 8, [np.int64, np.int32][len(x) - 1])])
    for skip in (0, 1, 2, 5):
        for least, most in ((1, 1), (1, 2), (2, 2)):
            pool, counts, places = pools["numbers"]
            attrs = {"mode": "TF", "min_gram_length": least, "max_gram_length": most, "max_skip_count": skip, "ngram_counts": counts, "ngram_indexes": places, "pool_int64s": pool}
            S.case("TfIdfVectorizer", opset=9, attrs=attrs, inputs=[np.array([1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8], np.int64)])
            S.case("TfIdfVectorizer", opset=9, attrs=attrs, inputs=[np.array([[1, 1, 3, 3, 3, 7], [8, 6, 7, 5, 6, 8]], np.int32)])
    pool = ["été", "b", "a b", "漢字", "a", "b", "b", "a"]
    for mode in ("TF", "IDF", "TFIDF"):
        for x in [(9,), (2, 5)]:
            attrs = {"mode": mode, "min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 1, "ngram_counts": [0, 4], "ngram_indexes": [0, 1, 2, 3, 5, 4], "pool_strings": pool}
            S.case("TfIdfVectorizer", opset=next(opsets), attrs={**attrs, "weights": [0.5, 1.0, 2.0, 0.25, 3.0, 7.0]}, inputs=[words(v, x, pool)])
    pool, counts, places = pools["numbers"]
    attrs = {"mode": "TF", "min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 0, "ngram_counts": counts, "ngram_indexes": places, "pool_int64s": pool}
    for x in [(0,), (1,), (2, 0), (0, 3), (3, 1)]:
        S.case("TfIdfVectorizer", opset=13, attrs=attrs, inputs=[v.i(x, 1, 8)])


def cases(S):
    for family in (string_concat, string_normalizer, string_split, tfidf):
        family(S)
