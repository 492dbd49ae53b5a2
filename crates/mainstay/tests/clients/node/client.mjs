// The official Node client against a sandbox: prints "ok PART" for each part that worked.
import assert from 'node:assert/strict';
import net from 'node:net';
import { PassThrough, Writable } from 'node:stream';
import * as k8s from '@kubernetes/client-node';

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const namespace = 'default';
const ok = (part) => console.log(`ok ${part}`);

const body = {
  metadata: { name: 'web', labels: { 'made-by': 'node' } },
  spec: { selector: { app: 'echo' }, ports: [{ port: 80, targetPort: 8080 }] },
};
const made = await core.createNamespacedService({ namespace, body });
assert.ok(made.spec.clusterIP);
await assert.rejects(core.createNamespacedService({ namespace, body }), (error) => error.code === 409);
ok('create');

const listed = await core.listNamespacedService({ namespace, labelSelector: 'made-by=node' });
assert.deepEqual(listed.items.map((item) => item.metadata.name), ['web']);
ok('list');

const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/services`, () => core.listNamespacedService({ namespace }));
const changed = new Promise((resolve, reject) => {
  informer.on('update', (object) => object.metadata.annotations?.round === '1' && resolve(object));
  informer.on('error', reject);
});
await informer.start();
const merge = k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch);
await core.patchNamespacedService({ namespace, name: 'web', body: { metadata: { annotations: { round: '1' } } } }, merge);
assert.equal((await changed).metadata.name, 'web');
await informer.stop();
ok('watch');

const strategic = k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.StrategicMergePatch);
const named = { spec: { ports: [{ port: 80, name: 'http' }] } };
const patched = await core.patchNamespacedService({ namespace, name: 'web', body: named }, strategic);
assert.equal(patched.spec.ports[0].name, 'http');
assert.equal(patched.spec.ports[0].targetPort, 8080);
ok('patch');

const applied = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied', namespace }, data: { a: '1' } };
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const stored = await objects.patch(applied, undefined, undefined, 'node', true, k8s.PatchStrategy.ServerSideApply);
assert.equal(stored.metadata.managedFields[0].manager, 'node');
ok('apply');

const sink = (text) => new Writable({ write(chunk, _, done) { text.push(chunk.toString()); done(); } });
const lines = [];
await new k8s.Log(config).log(namespace, 'echo', 'echo', sink(lines), { tailLines: 5 });
ok('logs');

const said = [];
const status = await new Promise((resolve, reject) => {
  new k8s.Exec(config)
    .exec(namespace, 'echo', 'echo', ['cat'], sink(said), sink([]), feed('from node\n'), false, resolve)
    .catch(reject);
});
assert.equal(status.status, 'Success', JSON.stringify(status));
assert.equal(said.join(''), 'from node\n');
ok('exec');

function feed(text) {
  const input = new PassThrough();
  input.end(text);
  return input;
}

const forward = new k8s.PortForward(config);
const server = net.createServer((socket) => forward.portForward(namespace, 'echo', [8080], socket, null, socket));
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const answer = await fetch(`http://127.0.0.1:${server.address().port}/`, { headers: { connection: 'close' } });
assert.equal(answer.status, 200);
assert.ok((await answer.text()).length > 0);
server.close();
ok('port-forward');

await core.deleteNamespacedService({ namespace, name: 'web' });
await assert.rejects(core.readNamespacedService({ namespace, name: 'web' }), (error) => error.code === 404);
ok('delete');
process.exit(0);
