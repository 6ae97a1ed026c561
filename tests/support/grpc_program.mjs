// What tests.support.grpc_program is, in Node: gRPC's JavaScript client on xDS. It knows `call` only.
// PEERS names the folder whose node_modules has @grpc/grpc-js and @grpc/grpc-js-xds.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.env.PEERS}/`);
const grpc = require("@grpc/grpc-js");
const xds = require("@grpc/grpc-js-xds");
xds.register();

const METHOD = "/weft.test.Echo/Say";
const credentials = new xds.XdsChannelCredentials(grpc.credentials.createInsecure());
const clients = new Map();
const same = (bytes) => bytes;

function client(target) {
  if (!clients.has(target)) clients.set(target, new grpc.Client(target, credentials));
  return clients.get(target);
}

function once(order) {
  const metadata = new grpc.Metadata();
  for (const [name, value] of order.metadata ?? []) metadata.add(name, value);
  const options = { deadline: Date.now() + 1000 * (order.timeout ?? 60) };
  const method = order.method ?? METHOD;
  return new Promise((resolve) => {
    const answer = (error, text) =>
      resolve(error ? [grpc.status[error.code], error.details] : ["OK", text.toString()]);
    client(order.call).makeUnaryRequest(
      method, same, same, Buffer.alloc(0), metadata, options, answer);
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  const found = [];
  for (let left = order.count ?? 1; left > 0; left -= 1) found.push(await once(order));
  console.log(JSON.stringify(found));
}
process.exit(0);
