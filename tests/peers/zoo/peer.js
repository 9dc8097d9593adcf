// tests/peers/zoo/peer.js - ONNX Runtime's side of compare.py:   node peer.js LEVEL MODEL.onnx CASE_DIR OUT [CASE_DIR OUT ...]
// loads the model once, runs it on CASE_DIR/in/INPUT.npy into OUT, and prints {"load_ms": .., "run_ms": [.. of each case]}, each the
// faster of two runs when the first took less than a second.
'use strict';
const path = require('path');
const { session, readNpy, fileName, writeFolder } = require('../ort.js');

async function main([level, model, ...pairs]) {
  let from = process.hrtime.bigint();
  const since = () => Number(process.hrtime.bigint() - from) / 1e6;
  const s = await session(model, { graphOptimizationLevel: level });
  const times = { load_ms: since(), run_ms: [] };
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    const feeds = {};
    for (const name of s.inputNames) feeds[name] = readNpy(path.join(pairs[i], 'in', fileName(name)));
    from = process.hrtime.bigint();
    const out = await s.run(feeds);
    let ms = since();
    if (ms < 1000) {
      from = process.hrtime.bigint();
      await s.run(feeds);
      ms = Math.min(ms, since());
    }
    times.run_ms.push(ms);
    writeFolder(pairs[i + 1], out);
  }
  console.log(JSON.stringify(times));
}

main(process.argv.slice(2)).catch((e) => {
  console.error(e.message);
  process.exit(1);
});
