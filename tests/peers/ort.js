// tests/peers/ort.js - .npy files and ONNX Runtime (npm package onnxruntime-node), for golden.js, bench.js and, as a command,
// for onnxruntime.py:   node ort.js LEVEL MODEL.onnx IN_DIR OUT_DIR [...]   runs each model on IN_DIR/INPUT.npy; LEVEL is all
// (ONNX Runtime's default) or disabled (every node as written).
// The package is looked for in $QUERN_NPM/node_modules, default build/npm; tests/peers/install.sh puts it there.
'use strict';
const fs = require('fs');
const path = require('path');

const npm = path.resolve(process.env.QUERN_NPM || path.join(__dirname, '../../build/npm'));
const ort = require(path.join(npm, 'node_modules/onnxruntime-node'));

// npy descr, ONNX Runtime's name, array
const types = [
  ['<f4', 'float32', Float32Array], ['<i8', 'int64', BigInt64Array], ['<i4', 'int32', Int32Array],
  ['|u1', 'uint8', Uint8Array], ['|i1', 'int8', Int8Array], ['|b1', 'bool', Uint8Array], ['<f8', 'float64', Float64Array],
  ['<f2', 'float16', typeof Float16Array === 'undefined' ? Uint16Array : Float16Array], ['<u2', 'uint16', Uint16Array], ['<i2', 'int16', Int16Array], ['<u4', 'uint32', Uint32Array],
  ['<u8', 'uint64', BigUint64Array],
];

function readNpy(file) {
  const raw = fs.readFileSync(file);
  if (raw.toString('latin1', 0, 6) !== '\x93NUMPY') throw new Error(`${file} is not an npy file`);
  const long = raw[6] > 1;
  const start = (long ? 12 : 10) + (long ? raw.readUInt32LE(8) : raw.readUInt16LE(8));
  const head = raw.toString('latin1', 10, start);
  const descr = /'descr': '([^']*)'/.exec(head)[1];
  const type = types.find((t) => t[0] === descr);
  if (!type || /'fortran_order': True/.test(head)) throw new Error(`${file}: ${head}`);
  const dims = /'shape': \(([^)]*)\)/.exec(head)[1].split(',').filter((s) => s.trim()).map(Number);
  const bytes = Uint8Array.from(raw.subarray(start)); // a copy, so that it is aligned
  return new ort.Tensor(type[1], new type[2](bytes.buffer), dims);
}

function writeNpy(file, t) {
  const descr = types.find((x) => x[1] === t.type)[0];
  const shape = t.dims.length === 1 ? `${t.dims[0]},` : t.dims.join(', ');
  let head = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape}), }`;
  head = head.padEnd(Math.ceil((head.length + 11) / 64) * 64 - 11) + '\n';
  const size = Buffer.alloc(2);
  size.writeUInt16LE(head.length);
  const data = Buffer.from(t.data.buffer, t.data.byteOffset, t.data.byteLength);
  fs.writeFileSync(file, Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), size, Buffer.from(head, 'latin1'), data]));
}

// As `quern run` names its files.
const fileName = (value) => value.replace(/[^A-Za-z0-9._-]/g, '_') + '.npy';

// ONNX Runtime's default optimisations, one thread. Without VNNI its u8 x s8 kernels saturate 16-bit sums; the option
// makes it take slower exact ones (it changes nothing on a CPU that has VNNI).
function session(model, options = {}) {
  const vnni = /vnni/.test(fs.readFileSync('/proc/cpuinfo', 'latin1'));
  const extra = vnni ? {} : { session: { x64quantprecision: '1' } };
  return ort.InferenceSession.create(model, { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3, extra, ...options });
}

async function run(model, feeds, options) {
  const s = await session(model, options);
  return s.run(feeds);
}

// {name: tensor} of the .npy files of a folder
function readFolder(folder) {
  const out = {};
  for (const f of fs.readdirSync(folder).sort()) if (f.endsWith('.npy')) out[f.slice(0, -4)] = readNpy(path.join(folder, f));
  return out;
}

function writeFolder(folder, tensors) {
  fs.mkdirSync(folder, { recursive: true });
  for (const [name, t] of Object.entries(tensors)) writeNpy(path.join(folder, fileName(name)), t);
}

module.exports = { ort, session, run, readNpy, fileName, readFolder, writeFolder };

async function main([level, ...args]) {
  for (let i = 0; i + 2 < args.length; i += 3) {
    writeFolder(args[i + 2], await run(args[i], readFolder(args[i + 1]), { graphOptimizationLevel: level }));
  }
}

if (require.main === module) {
  main(process.argv.slice(2)).catch((e) => {
    console.error(e.message);
    process.exit(1);
  });
}
