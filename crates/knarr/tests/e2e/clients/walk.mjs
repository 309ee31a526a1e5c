// What programs do with the JavaScript client, against a real cluster. Every step checks what it got; prints `done` at the end.

import assert from 'node:assert/strict';
import { PassThrough, Readable } from 'node:stream';
import { createRequire } from 'node:module';

const require = createRequire(process.argv[2] + '/');
const k8s = require('@kubernetes/client-node');

const NS = 'javascript';
const IMAGE = 'knarr.io/demo:latest';
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function eventually(what, check, patience = 60_000) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await check();
    if (found) return found;
    assert(Date.now() < end, `timed out: ${what}`);
    await sleep(50);
  }
}

async function refused(code, reason, call) {
  try {
    await call();
  } catch (error) {
    assert.equal(error.code, code, String(error));
    assert.equal(JSON.parse(error.body).reason, reason);
    return;
  }
  assert.fail(`not refused with ${reason}`);
}

async function informs(config, core) {
  const seen = [];
  const informer = k8s.makeInformer(config, `/api/v1/namespaces/${NS}/configmaps`, () =>
    core.listNamespacedConfigMap({ namespace: NS }));
  for (const event of ['add', 'update', 'delete']) {
    informer.on(event, (object) => {
      if (object.metadata.name === 'one') seen.push(`${event} ${object.data?.a}`);
    });
  }
  await informer.start();
  const body = { metadata: { name: 'one' }, data: { a: '1' } };
  await core.createNamespacedConfigMap({ namespace: NS, body });
  await refused(409, 'AlreadyExists', () => core.createNamespacedConfigMap({ namespace: NS, body }));
  const patch = [{ op: 'replace', path: '/data/a', value: '2' }];
  await core.patchNamespacedConfigMap({ namespace: NS, name: 'one', body: patch });
  await core.deleteNamespacedConfigMap({ namespace: NS, name: 'one' });
  await eventually('all events came', () => seen.length >= 3);
  assert.deepEqual(seen, ['add 1', 'update 2', 'delete 2']);
  await informer.stop();
}

async function objects(config) {
  const api = k8s.KubernetesObjectApi.makeApiClient(config);
  const spec = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web', namespace: NS },
    spec: {
      replicas: 1,
      selector: { matchLabels: { app: 'web' } },
      template: {
        metadata: { labels: { app: 'web' } },
        spec: { containers: [{ name: 'c', image: IMAGE, imagePullPolicy: 'IfNotPresent' }] },
      },
    },
  };
  await api.create(spec);
  await eventually('the Deployment is ready', async () => (await api.read(spec)).status?.readyReplicas === 1);
  const applied = await api.patch(
    { ...spec, spec: { ...spec.spec, replicas: 2 } }, undefined, undefined, 'walk', true, 'application/apply-patch+yaml');
  assert.equal(applied.spec.replicas, 2);
  await eventually('two replicas are ready', async () => (await api.read(spec)).status?.readyReplicas === 2);
}

async function execs(config, core) {
  const pods = await core.listNamespacedPod({ namespace: NS, labelSelector: 'app=web' });
  const name = pods.items[0].metadata.name;
  const out = new PassThrough();
  let text = '';
  out.on('data', (chunk) => { text += chunk; });
  const input = Readable.from([Buffer.from('over and back\n')]);
  const socket = await new k8s.Exec(config).exec(NS, name, 'c', ['/demo', 'cat'], out, process.stderr, input, false);
  await eventually('exec gives it back', () => text === 'over and back\n');
  socket.close();
  const status = await new Promise((resolve, reject) => {
    new k8s.Exec(config).exec(NS, name, 'c', ['/demo', 'fail', '4'], out, process.stderr, null, false, resolve).catch(reject);
  });
  assert.equal(status.details.causes.find((c) => c.reason === 'ExitCode').message, '4');
  const log = new PassThrough();
  await new k8s.Log(config).log(NS, name, 'c', log, { tailLines: 1 });
  log.resume();
}

async function main() {
  const config = new k8s.KubeConfig();
  config.loadFromDefault();
  const core = config.makeApiClient(k8s.CoreV1Api);
  await core.createNamespace({ body: { metadata: { name: NS } } });
  await informs(config, core);
  await refused(404, 'NotFound', () => core.readNamespacedPod({ namespace: NS, name: 'none' }));
  await objects(config);
  await execs(config, core);
  const review = await config.makeApiClient(k8s.AuthorizationV1Api).createSelfSubjectAccessReview({
    body: { spec: { resourceAttributes: { verb: 'delete', resource: 'nodes' } } },
  });
  assert.equal(review.status.allowed, true);
  await core.deleteNamespace({ name: NS });
  await eventually('the namespace is gone', () =>
    core.readNamespace({ name: NS }).then(() => false, (error) => error.code === 404));
  console.log('done');
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
