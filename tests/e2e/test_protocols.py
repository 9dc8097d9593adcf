"""What clients of other servers expect: OpenAI's list of models, the description of the routes, Triton's classification."""
import json
import os
import re
import shutil
import struct
import tempfile

import numpy as np
import onnx
from harness import ROOT, Daemon, main
from onnx import TensorProto, helper


def served(quern_yaml=""):
    """A model `scores` that hands its input [N,5] on, one `flat` for [5], and one `words` whose output is strings."""
    folder = tempfile.mkdtemp(prefix="quern-protocols-")
    for name, kind, shape in (("scores", TensorProto.FLOAT, ["N", 5]), ("flat", TensorProto.INT64, [5]), ("words", TensorProto.STRING, ["N"])):
        x, y = (helper.make_tensor_value_info(n, kind, shape) for n in "xy")
        graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], name, [x], [y])
        os.makedirs(f"{folder}/{name}/1")
        onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), f"{folder}/{name}/1/model.onnx")
    with open(f"{folder}/scores/quern.yaml", "w") as f:
        f.write(quern_yaml)
    return folder


def request(name, rows, k, **parameters):
    a = np.array(rows)
    kind = {"scores": "FP32", "flat": "INT64", "words": "BYTES"}[name]
    output = {"name": "y", "parameters": {"classification": k, **parameters}}
    return {"inputs": [{"name": "x", "shape": a.shape, "datatype": kind, "data": a.ravel().tolist()}], "outputs": [output]}


def the_best_classes_come_with_their_labels():
    folder = served("labels: [cat, dog, 'red: fox']\n")
    rows = [[0.5, 3, -1.5, 0.25, 3], [1e-7, 1, 2, 3, 4]]
    try:
        with Daemon(models=folder) as d:
            assert "classification" in json.loads(d.get("/v2")[2])["extensions"]
            status, _, text = d.post("/v2/models/scores/infer", request("scores", rows, 3))
            assert status == 200, text
            y = json.loads(text)["outputs"][0]
            assert y["datatype"] == "BYTES" and y["shape"] == [2, 3], y
            assert y["data"] == ["3:1:dog", "3:4", "0.5:0:cat", "4:4", "3:3", "2:2:red: fox"], y
            y = json.loads(d.post("/v2/models/scores/infer", request("scores", rows, 99))[2])["outputs"][0]
            assert y["shape"] == [2, 5] and y["data"][4] == "-1.5:2:red: fox" and y["data"][9] == "1e-7:0:cat", y
            y = json.loads(d.post("/v2/models/flat/infer", request("flat", [7, -3, 9, 0, 9], 2))[2])["outputs"][0]
            assert y["shape"] == [2] and y["data"] == ["9:2", "9:4"], y
            # binary, and asked for by binary_data_output as well
            for body in (request("scores", rows[:1], 1, binary_data=True), {**request("scores", rows[:1], 1), "parameters": {"binary_data_output": True}}):
                status, headers, text = d.post("/v2/models/scores/infer", body)
                head = int(headers["inference-header-content-length"])
                assert json.loads(text[:head])["outputs"][0]["parameters"]["binary_data_size"] == 11
                assert text[head:] == struct.pack("<I", 7) + b"3:1:dog", text[head:]
            for k in (0, -1, 1.5, "2", True):
                assert d.post("/v2/models/scores/infer", request("scores", rows, k))[0] == 400, k
            status, _, text = d.post("/v2/models/words/infer", request("words", ["a", "b"], 1))
            assert status == 400 and b"output y" in text and b"numbers" in text, (status, text)
    finally:
        shutil.rmtree(folder)


def the_configuration_says_how_a_model_is_served():
    folder = served("max_batch_rows: 7\nmax_queue_delay_us: 50\npriority: low\n")
    try:
        with Daemon(models=folder) as d:
            c = json.loads(d.get("/v2/models/scores/config")[2])
            assert c["name"] == "scores" and c["max_batch_size"] == 7, c
            assert c["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [5]}] and c["output"] == [{"name": "y", "data_type": "TYPE_FP32", "dims": [5]}], c
            assert c["dynamic_batching"]["max_queue_delay_microseconds"] == 50 and c["dynamic_batching"]["default_priority_level"] == 3, c
            c = json.loads(d.get("/v2/models/flat/versions/1/config")[2])
            assert c["max_batch_size"] == 0 and "dynamic_batching" not in c and c["input"][0] == {"name": "x", "data_type": "TYPE_INT64", "dims": [5]}, c
            assert json.loads(d.get("/v2/models/words/config")[2])["input"][0]["data_type"] == "TYPE_STRING"
            assert d.get("/v2/models/none/config")[0] == 404
    finally:
        shutil.rmtree(folder)


def models_are_listed_as_openai_does():
    folder = served()
    try:
        with Daemon(models=folder) as d:
            answer = json.loads(d.get("/v1/models")[2])
            assert answer["object"] == "list" and [m["id"] for m in answer["data"]] == ["flat", "scores", "words"], answer
            assert all(m["object"] == "model" and m["owned_by"] == "quern" and m["created"] > 1.6e9 for m in answer["data"])
            one = json.loads(d.get("/v1/models/scores")[2])
            assert one["id"] == "scores" and one["object"] == "model" and one["model_version_status"][0]["state"] == "AVAILABLE", one
            assert d.post("/v2/repository/models/words/unload", {})[0] == 200
            assert [m["id"] for m in json.loads(d.get("/v1/models")[2])["data"]] == ["flat", "scores"]
            status, _, text = d.request("POST", "/v1/models", b"{}", {"Content-Type": "application/json"})
            assert status == 405 and set(json.loads(text)["error"]) == {"message", "type", "param", "code"}, text
    finally:
        shutil.rmtree(folder)


def every_route_is_described():
    daemon = Daemon()
    with open(os.path.join(daemon.models, "fashion", "quern.yaml"), "w") as f:
        f.write("version_labels: {stable: 1}\n")
    with daemon as d:
        status, headers, text = d.get("/openapi.json")
        assert status == 200 and headers["content-type"] == "application/json"
        api = json.loads(text)
        with open(os.path.join(ROOT, "server", "routes", "routes.def")) as f:
            rows = re.findall(r'^QN_ROUTE\("(\w+)", "([^"]+)", (\w+)', f.read(), re.M)
        assert api["openapi"] == "3.1.0" and len(rows) > 20
        assert {(m.upper(), p) for p, path in api["paths"].items() for m in path} == {(m, p) for m, p, _ in rows}
        for method, pattern, scope in rows:
            operation = api["paths"][pattern][method.lower()]
            assert operation["summary"] and ("security" in operation) == (scope != "NONE"), pattern
            assert [p["name"] for p in operation["parameters"]] == re.findall(r"\{(\w+)\}", pattern), pattern
        for pattern, path in api["paths"].items():  # what is described is there
            if "get" in path:
                status = d.get(pattern.replace("{model}", "fashion").replace("{version}", "1").replace("{label}", "stable"))[0]
                assert status == 200, (pattern, status)


main([the_best_classes_come_with_their_labels, the_configuration_says_how_a_model_is_served, models_are_listed_as_openai_does, every_route_is_described])
