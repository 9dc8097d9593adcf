-- tests/bench/serving.lua - for wrk: one row to a model as JSON, or as a binary tensor.
-- wrk -s serving.lua URL -- json|binary PATH N   (N floats); prints requests/s, p50 and p99 in ms, requests that failed.
local ffi = require("ffi")

function init(args)
  local form, path, n = args[1], args[2], tonumber(args[3])
  local floats = ffi.new("float[?]", n)
  local words = {}
  for i = 0, n - 1 do
    floats[i] = ((i * 37) % 256) / 255
    words[i + 1] = string.format("%.4g", floats[i])
  end
  local headers, body = { ["Content-Type"] = "application/json" }, nil
  if form == "json" then
    body = '{"instances":[[' .. table.concat(words, ",") .. "]]}"
  else
    local head = string.format('{"inputs":[{"name":"x","shape":[1,%d],"datatype":"FP32","parameters":{"binary_data_size":%d}}],'
      .. '"parameters":{"binary_data_output":true}}', n, 4 * n)
    headers = { ["Content-Type"] = "application/octet-stream", ["Inference-Header-Content-Length"] = tostring(#head) }
    body = head .. ffi.string(floats, 4 * n)
  end
  local whole = wrk.format("POST", path, headers, body)
  request = function() return whole end
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format("%.0f %.3f %.3f %d\n", summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, e.status + e.connect + e.read + e.write + e.timeout))
end
