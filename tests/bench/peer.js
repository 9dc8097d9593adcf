// tests/bench/peer.js - the median time of ONNX Runtime, one thread:  node peer.js SECONDS MODEL.onnx NAME=f32:1x3x16x16 ...
// Prints milliseconds. The time includes the Node binding, which bench.sh measures with a model of one Identity.
'use strict';
const { ort, session } = require('../peers/ort.js');

async function main([seconds, model, ...inputs]) {
  const feeds = {};
  for (const text of inputs) {
    const [, name, kind, shape] = /^(.*)=(f32|i64):(.*)$/.exec(text);
    const dims = shape.split('x').map(Number);
    const n = dims.reduce((a, b) => a * b, 1);
    const value = (i) => ((i * 2654435761) % 65536) / 32768 - 1;
    feeds[name] = kind === 'f32'
      ? new ort.Tensor('float32', Float32Array.from({ length: n }, (_, i) => value(i)), dims)
      : new ort.Tensor('int64', BigInt64Array.from({ length: n }, (_, i) => BigInt(value(i) > 0)), dims);
  }
  const s = await session(model);
  const now = () => Number(process.hrtime.bigint()) / 1e6;
  const times = [];
  for (let warm = now() + seconds * 200; now() < warm;) await s.run(feeds);
  for (let end = now() + seconds * 1000; now() < end || times.length < 3;) {
    const t = now();
    await s.run(feeds);
    times.push(now() - t);
  }
  times.sort((a, b) => a - b);
  console.log(times[times.length >> 1].toFixed(5));
}

main(process.argv.slice(2)).catch((e) => {
  console.error(e.message);
  process.exit(1);
});
