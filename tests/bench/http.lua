-- tests/bench/http.lua - for wrk: one image to the fashion model, as JSON or as a binary tensor.
-- wrk -s http.lua URL -- json|binary IMAGE.json; prints one line: requests/s, p50 and p99 in ms, requests that failed.
local ffi = require("ffi")

function init(args)
  local form = args[1]
  local file = assert(io.open(args[2]))
  local json = file:read("*a")
  file:close()
  if form == "json" then
    request = function() return wrk.format("POST", "/v1/models/fashion:predict", { ["Content-Type"] = "application/json" }, json) end
    return
  end
  local pixels, n = ffi.new("float[784]"), 0
  for number in json:gmatch("[%[,%s]([%d%.eE+-]+)") do
    pixels[n] = tonumber(number)
    n = n + 1
  end
  assert(n == 784, "the image has " .. n .. " pixels")
  local head = '{"inputs":[{"name":"image","shape":[1,1,28,28],"datatype":"FP32","parameters":{"binary_data_size":3136}}],'
    .. '"outputs":[{"name":"probs","parameters":{"binary_data":true}}]}'
  local headers = { ["Content-Type"] = "application/octet-stream", ["Inference-Header-Content-Length"] = tostring(#head) }
  local body = head .. ffi.string(pixels, 3136)
  request = function() return wrk.format("POST", "/v2/models/fashion/infer", headers, body) end
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format("%.0f %.3f %.3f %d\n", summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, e.status + e.connect + e.read + e.write + e.timeout))
end
