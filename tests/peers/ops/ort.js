// tests/peers/ops/ort.js - ONNX Runtime's answers to the cases of generate.py.   node ort.js JOBS.json
// Each case's folder gets test_data_set_0/output_N.pb, or the file "refused" with what ONNX Runtime said. Every node runs as written
// (no graph optimisation). A case that has an answer is left alone, so a run that was killed by one case can be started again after it:
// "refused" is written before a case is tried.
'use strict';
const fs = require('fs');
const path = require('path');
const { ort, session } = require('../ort.js');

// ONNX's number of a type: the binding's name and array
const types = {
  1: ['float32', Float32Array], 2: ['uint8', Uint8Array], 3: ['int8', Int8Array], 4: ['uint16', Uint16Array], 5: ['int16', Int16Array],
  6: ['int32', Int32Array], 7: ['int64', BigInt64Array], 8: ['string'], 9: ['bool', Uint8Array], 10: ['float16', Uint16Array],
  11: ['float64', Float64Array], 12: ['uint32', Uint32Array], 13: ['uint64', BigUint64Array],
};
const BFLOAT16 = 16, UINT4 = 21, INT4 = 22;

// -- TensorProto: dims = 1, data_type = 2, string_data = 6, name = 8, raw_data = 9

function readVarint(at) {
  let value = 0n, shift = 0n, byte;
  do {
    byte = at.raw[at.i++];
    value |= BigInt(byte & 127) << shift;
    shift += 7n;
  } while (byte & 128);
  return Number(BigInt.asIntN(64, value));
}

function readTensor(file) {
  const at = { raw: fs.readFileSync(file), i: 0 };
  const t = { dims: [], kind: 0, name: '', strings: [], data: Buffer.alloc(0) };
  while (at.i < at.raw.length) {
    const key = readVarint(at), field = key >> 3;
    if ((key & 7) === 0) {
      const value = readVarint(at);
      if (field === 1) t.dims.push(value);
      if (field === 2) t.kind = value;
      continue;
    }
    const n = readVarint(at), part = at.raw.subarray(at.i, at.i + n);
    at.i += n;
    if (field === 1) for (const inner = { raw: part, i: 0 }; inner.i < n;) t.dims.push(readVarint(inner));
    if (field === 6) t.strings.push(part.toString());
    if (field === 8) t.name = part.toString();
    if (field === 9) t.data = part;
  }
  return t;
}

function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}

const field = (n, part) => Buffer.concat([varint(n * 8 + 2), varint(part.length), part]);

function tensor(name, kind, t) {
  const raw = t.type === 'string' ? t.data.map((s) => field(6, Buffer.from(s))) : [field(9, bytesOf(t, kind))];
  const dims = t.dims.map((d) => Buffer.concat([varint(8), varint(d)]));
  return Buffer.concat([...dims, varint(16), varint(kind), ...raw, field(8, Buffer.from(name))]);
}

// -- what the binding does not carry goes in and out as FLOAT, INT8 or UINT8 (lib.py, for_peer)

function asFeed(t) {
  const n = t.dims.reduce((a, b) => a * b, 1);
  if (t.kind === 8) return new ort.Tensor('string', t.strings, t.dims);
  if (t.kind === BFLOAT16) {
    const bits = new Uint32Array(n);
    for (let i = 0; i < n; i++) bits[i] = t.data.readUInt16LE(2 * i) * 65536;
    return new ort.Tensor('float32', new Float32Array(bits.buffer), t.dims);
  }
  if (t.kind === INT4 || t.kind === UINT4) {
    const out = t.kind === INT4 ? new Int8Array(n) : new Uint8Array(n);
    for (let i = 0; i < n; i++) {
      const v = (t.data[i >> 1] >> (4 * (i & 1))) & 15;
      out[i] = t.kind === INT4 && v > 7 ? v - 16 : v;
    }
    return new ort.Tensor(t.kind === INT4 ? 'int8' : 'uint8', out, t.dims);
  }
  const [name, array] = types[t.kind];
  return new ort.Tensor(name, new array(Uint8Array.from(t.data).buffer), t.dims); // a copy, so that it is aligned
}

function bytesOf(t, kind) {
  const n = t.data.length;
  if (kind === BFLOAT16) {
    const bits = new Uint32Array(Float32Array.from(t.data).buffer), out = Buffer.alloc(2 * n);
    for (let i = 0; i < n; i++) out.writeUInt16LE(bits[i] >>> 16, 2 * i); // exact: it was a BFLOAT16 inside
    return out;
  }
  if (kind === INT4 || kind === UINT4) {
    const out = Buffer.alloc((n + 1) >> 1);
    for (let i = 0; i < n; i++) out[i >> 1] |= (t.data[i] & 15) << (4 * (i & 1));
    return out;
  }
  return Buffer.from(t.data.buffer, t.data.byteOffset, t.data.byteLength);
}

// -- cases

const kindOf = (t) => Number(Object.keys(types).find((k) => types[k][0] === t.type));

// A SequenceProto of the elements that lib.py's unroll() made outputs: tensor_values = 3, elem_type = 2
function sequence(name, most, results) {
  const n = Number(results[`${name}_n`].data[0]);
  if (n > most) throw new Error(`${n} elements: lib.py looks for ${most}`);
  const items = [];
  for (let k = 0; k < n; k++) items.push(field(3, tensor(name, kindOf(results[`${name}_${k}`]), results[`${name}_${k}`])));
  return Buffer.concat([field(1, Buffer.from(name)), varint(16), varint(1), ...items]);
}

async function answer(c) {
  const feeds = {};
  for (const f of c.feeds) {
    const t = readTensor(f);
    feeds[t.name] = asFeed(t);
  }
  const s = await session(fs.readFileSync(c.model), { graphOptimizationLevel: 'disabled', logSeverityLevel: 4 });
  try {
    const results = await s.run(feeds);
    const files = Object.entries(c.outputs).map(([name, kind]) => {
      if (name in c.lists) return sequence(name, c.lists[name], results);
      return tensor(name, kind && !(kind in types) ? kind : kindOf(results[name]), results[name]);
    });
    files.forEach((bytes, i) => fs.writeFileSync(path.join(c.folder, `test_data_set_0/output_${i}.pb`), bytes));
  } finally {
    await s.release();
  }
}

async function main(jobs) {
  for (const c of JSON.parse(fs.readFileSync(jobs))) {
    const refused = path.join(c.folder, 'refused');
    if (fs.existsSync(refused) || fs.existsSync(path.join(c.folder, 'test_data_set_0/output_0.pb'))) continue;
    fs.writeFileSync(refused, 'ONNX Runtime died');
    try {
      await answer(c);
      fs.unlinkSync(refused);
    } catch (e) {
      fs.writeFileSync(refused, e.message);
    }
  }
}

main(process.argv[2]).catch((e) => {
  console.error(e.message);
  process.exit(1);
});
