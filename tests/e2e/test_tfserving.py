"""TensorFlow Serving's REST: the requests its documentation shows (api_rest.md), with curl, and classify and regress beyond them."""
import base64
import json
import os
import shutil
import subprocess
import tempfile

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from harness import Daemon, in_threads, main

F, S = TensorProto.FLOAT, TensorProto.STRING


def put(folder, name, version, nodes, inputs, outputs, weights=(), settings=None):
    graph = helper.make_graph(
        [helper.make_node(*n[:3], **(n[3] if len(n) > 3 else {})) for n in nodes],
        name,
        [helper.make_tensor_value_info(*i) for i in inputs],
        [helper.make_tensor_value_info(*o) for o in outputs],
        [numpy_helper.from_array(np.array(a, np.float32), n) for n, a in weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    os.makedirs(os.path.join(folder, name, str(version)), exist_ok=True)
    with open(os.path.join(folder, name, str(version), "model.onnx"), "wb") as f:
        f.write(model.SerializeToString())
    if settings:
        with open(os.path.join(folder, name, "quern.yaml"), "w") as f:
            f.write(settings)


def models():
    """What the documentation's models do: x / 2 + 2, x / 2 + 3; and some of our own."""
    folder = tempfile.mkdtemp(prefix="quern-tfs-")
    for name, c in (("half_plus_two", 2.0), ("half_plus_three", 3.0)):
        put(folder, name, 123, [("Mul", ["x", "h"], ["m"]), ("Add", ["m", "c"], ["y"])], [("x", F, ["n"])], [("y", F, ["n"])], [("h", 0.5), ("c", c)])
    put(folder, "echo", 1, [("Identity", ["tag"], ["tag_out"]), ("Identity", ["signal"], ["signal_out"]), ("Identity", ["sensor"], ["sensor_out"])],
        [("tag", S, ["n"]), ("signal", F, ["n", 5]), ("sensor", F, ["n", 2, 2])],
        [("tag_out", S, ["n"]), ("signal_out", F, ["n", 5]), ("sensor_out", F, ["n", 2, 2])])
    put(folder, "image", 1, [("Identity", ["image"], ["image_bytes"])], [("image", S, ["n"])], [("image_bytes", S, ["n"])])
    put(folder, "iris", 1, [("MatMul", ["x", "w"], ["z"]), ("Add", ["z", "site"], ["zz"]), ("Softmax", ["zz"], ["p"], {"axis": 1})],
        [("x", F, ["n", 2]), ("site", F, ["n", 1])], [("p", F, ["n", 3])], [("w", [[1, 0, -1], [0, 1, 0.5]])], "labels: [setosa, 'versi\"color']\n")
    put(folder, "named", 1, [("Identity", ["x"], ["scores"]), ("Identity", ["c"], ["classes"]), ("ReduceSum", ["x"], ["other"], {"keepdims": 1})],
        [("x", F, ["n", 2]), ("c", S, ["n", 2])], [("scores", F, ["n", 2]), ("classes", S, ["n", 2]), ("other", F, [1, 1])])
    put(folder, "square", 1, [("Flatten", ["x"], ["f"]), ("MatMul", ["f", "w"], ["y"])],
        [("x", F, ["n", 2, 3])], [("y", F, ["n", 1])], [("w", [[1], [2], [3], [4], [5], [6]])])
    return folder


class Served:
    def __enter__(self):
        self.folder = models()
        self.daemon = Daemon(models=self.folder)
        return self.daemon.__enter__()

    def __exit__(self, *exc):
        try:
            self.daemon.__exit__(*exc)
        finally:
            shutil.rmtree(self.folder)


def curl(d, path, body=None):
    """(status, JSON) of what curl says when used as in the documentation: -d makes it a form by its Content-Type."""
    args = ["curl", "-s", "-w", "\n%{http_code}", f"http://127.0.0.1:{d.port}{path}"]
    if body is not None:
        args += ["-X", "POST", "-d", body if isinstance(body, str) else json.dumps(body)]
    out = subprocess.run(args, stdout=subprocess.PIPE, check=True).stdout.decode()
    text, _, status = out.rpartition("\n")
    return int(status), json.loads(text)


def the_documented_requests_get_the_documented_answers():
    with Served() as d:
        assert curl(d, "/v1/models/half_plus_two:predict", '{"instances": [1.0, 2.0, 5.0]}') == (200, {"predictions": [2.5, 3.0, 4.5]})
        assert curl(d, "/v1/models/half_plus_three:predict", '{"instances": [1.0, 2.0, 5.0]}') == (200, {"predictions": [3.5, 4.0, 5.5]})
        assert curl(d, "/v1/models/half_plus_three/versions/123:predict", '{"inputs": [1.0, 2.0]}') == (200, {"outputs": [3.5, 4.0]})
        status, model = curl(d, "/v1/models/half_plus_three")
        assert status == 200 and model["model_version_status"] == [{"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}], model
        regress = '{"signature_name": "tensorflow/serving/regress", "examples": [{"x": 1.0}, {"x": 2.0}]}'
        assert curl(d, "/v1/models/half_plus_three:regress", regress) == (200, {"results": [3.5, 4.0]})
        assert curl(d, "/v1/models/half_plus_three/versions/123:regress", regress) == (200, {"results": [3.5, 4.0]})
        rows = {"instances": [{"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]}, {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]}]}
        status, reply = curl(d, "/v1/models/echo:predict", rows)
        assert status == 200 and reply == {"predictions": [{k + "_out": v for k, v in row.items()} for row in rows["instances"]]}, reply
        columns = {"inputs": {"tag": ["foo", "bar"], "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]], "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]]}}
        status, reply = curl(d, "/v1/models/echo:predict", columns)
        assert status == 200 and reply == {"outputs": {k + "_out": v for k, v in columns["inputs"].items()}}, reply
        for text in ("bytes of an image", "another"):
            b64 = base64.b64encode(text.encode()).decode()
            assert curl(d, "/v1/models/image:predict", {"instances": [{"b64": b64}]}) == (200, {"predictions": [{"b64": b64}]})
            assert curl(d, "/v1/models/image:predict", {"instances": [{"image": {"b64": b64}}]}) == (200, {"predictions": [{"b64": b64}]})
        status, meta = curl(d, "/v1/models/half_plus_two/metadata")
        signature = meta["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert status == 200 and meta["model_spec"]["name"] == "half_plus_two" and signature["inputs"]["x"]["dtype"] == "DT_FLOAT", meta
        assert curl(d, "/v1/models/none:predict", '{"instances": [1.0]}')[0] == 404 and "error" in curl(d, "/v1/models/none")[1]
        assert curl(d, "/v1/models/half_plus_two:predict", '{"instances": [1.0], "inputs": [1.0]}')[0] == 400


def classes_come_with_labels_in_the_models_order():
    def softmax(x, site):
        z = np.array([x[0] + site, x[1] + site, 0.5 * x[1] - x[0] + site], np.float64)
        return np.exp(z - z.max()) / np.exp(z - z.max()).sum()

    with Served() as d:
        rows = [[0.5, 1.5], [2.0, -1.0], [0.0, 0.25]]
        status, reply = curl(d, "/v1/models/iris:classify", {"context": {"site": 3}, "examples": [{"x": r} for r in rows]})
        assert status == 200 and len(reply["results"]) == 3, reply
        for row, got in zip(rows, reply["results"]):
            assert [label for label, _ in got] == ["setosa", 'versi"color', ""], got
            np.testing.assert_allclose([score for _, score in got], softmax(row, 3), rtol=1e-5)
        own = {"examples": [{"x": r, "site": [3.0]} for r in rows]}
        assert curl(d, "/v1/models/iris:classify", own)[1] == reply  # the context may stand in every example as well
        late = '{"examples":[{"x":[0.5,1.5]},{"x":[2.0,-1.0]},{"x":[0.0,0.25]}],"signature_name":"serving_default","context":{"site":[3]}}'
        assert curl(d, "/v1/models/iris:classify", late)[1] == reply
        named = {"context": {"c": ["a", "b"]}, "examples": [{"x": [1, 2]}, {"x": [3, 4]}]}
        status, reply = curl(d, "/v1/models/named:classify", named)
        assert status == 200 and reply == {"results": [[["a", 1.0], ["b", 2.0]], [["a", 3.0], ["b", 4.0]]]}, reply


def features_are_flat_and_take_the_inputs_shape():
    with Served() as d:
        flat = {"examples": [{"x": [1, 2, 3, 4, 5, 6]}, {"x": [0, 0, 0, 0, 0, 1]}]}
        nested = {"examples": [{"x": [[1, 2, 3], [4, 5, 6]]}, {"x": [[0, 0, 0], [0, 0, 1]]}]}
        assert curl(d, "/v1/models/square:regress", flat) == (200, {"results": [91.0, 6.0]}) == curl(d, "/v1/models/square:regress", nested)
        assert curl(d, "/v1/models/square:regress", {"context": {"x": [1, 2, 3, 4, 5, 6]}, "examples": [{}, {}, {}]}) == (200, {"results": [91.0] * 3})
        got = []
        in_threads(8, lambda i: got.extend(json.loads(d.post("/v1/models/square:regress", {"examples": [{"x": [i, 0, 0, 0, 0, k]} for k in range(3)]})[2])["results"] == [i + 6.0 * k for k in range(3)] for _ in range(20)))
        assert len(got) == 160 and all(got)


def what_is_no_example_is_one_clear_error():
    with Served() as d:
        cases = [
            ({}, "examples"),
            ({"examples": []}, "examples"),
            ({"examples": {}}, "examples"),
            ({"examples": [1.0]}, "example 0"),
            ({"examples": [{"y": 1.0}]}, "y"),
            ({"examples": [{"x": "a"}]}, "x"),
            ({"examples": [{"x": [1, 2]}]}, "x"),
            ({"examples": [{"x": 1.0}, {}]}, "x"),
            ({"examples": [{}]}, "x"),
            ({"examples": [{"x": 1.0}], "context": {"x": 2.0}}, "context"),
            ({"examples": [{"x": 1.0}], "context": [1]}, "context"),
            ({"instances": [1.0]}, "examples"),
            ({"examples": [{"x": 1.0}], "signature_name": "other"}, "signature_name"),
            ('{"examples":[{"x":1}],"examples":[{"x":1}]}', "twice"),
            ('{"examples":[{"x":1,"x":2}]}', "twice"),
            ('{"context":{"x":1},"context":{"x":1},"examples":[{}]}', "twice"),
            ("[]", "object"),
            ('{"examples":[{"x":', "JSON"),
        ]
        for body, word in cases:
            status, reply = curl(d, "/v1/models/half_plus_two:regress", body)
            assert status == 400 and word in reply["error"], (body, status, reply)
        status, reply = curl(d, "/v1/models/iris:regress", {"context": {"site": 1}, "examples": [{"x": [1, 2]}]})
        assert status == 400 and "one number for each example" in reply["error"], reply
        status, reply = curl(d, "/v1/models/square:classify", {"context": {"x": list(range(6))}, "examples": [{}] * 3})
        assert status == 200 and len(reply["results"]) == 3, reply
        status, reply = curl(d, "/v1/models/image:classify", {"examples": [{"image": "x"}]})
        assert status == 400 and "scores" in reply["error"], reply


main([the_documented_requests_get_the_documented_answers, classes_come_with_labels_in_the_models_order, features_are_flat_and_take_the_inputs_shape, what_is_no_example_is_one_clear_error])
