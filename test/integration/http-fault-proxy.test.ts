import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach, test } from 'node:test';
import { startFaultProxy, type FaultProxy } from '../support/http-fault-proxy.ts';

const served: string[] = [];
const target = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    served.push(`${request.method ?? ''} ${request.url ?? ''} ${request.headers.host ?? ''}`);
    response.writeHead(200, { 'x-target': 'yes' }).end(Buffer.concat(chunks));
  });
});
let proxy: FaultProxy;

before(async () => {
  await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve));
  proxy = await startFaultProxy(`http://127.0.0.1:${(target.address() as AddressInfo).port}`);
});
beforeEach(() => {
  served.length = proxy.log.length = proxy.rules.length = 0;
});
after(async () => {
  await proxy.close();
  await new Promise((resolve) => target.close(resolve));
});

const post = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(proxy.endpoint + path, { method: 'POST', body: 'asked', headers });

test('without a rule, requests and answers pass, with the Host that the client sent', async () => {
  const answer = await post('/some?query=1');
  assert.equal(await answer.text(), 'asked');
  assert.equal(answer.headers.get('x-target'), 'yes');
  assert.deepEqual(served, [`POST /some?query=1 ${new URL(proxy.endpoint).host}`]);
  assert.deepEqual(
    proxy.log.map(({ method, path, status, fault }) => ({ method, path, status, fault })),
    [{ method: 'POST', path: '/some?query=1', status: 200, fault: undefined }],
  );
});

test('a rule takes what matches in every field, after `skip` and `times` times', async () => {
  const action = { kind: 'answer', answer: { status: 503, body: 'slow down' } } as const;
  proxy.rules.push({
    method: 'POST',
    path: /^\/table/,
    headers: { 'x-amz-target': /\.PutItem$/ },
    skip: 1,
    times: 2,
    action,
  });
  const statuses: number[] = [];
  for (const operation of ['PutItem', 'GetItem', 'PutItem', 'PutItem', 'PutItem']) {
    const answer = await post('/table', { 'x-amz-target': `DynamoDB_20120810.${operation}` });
    await answer.text();
    statuses.push(answer.status);
  }
  assert.deepEqual(statuses, [200, 200, 503, 503, 200]);
  assert.equal(served.length, 3);
});

test('a made-up answer may depend on the request', async () => {
  proxy.rules.push({
    times: 1,
    action: { kind: 'answer', answer: ({ path, body }) => ({ status: 400, body: `${path} ${body.toString()}` }) },
  });
  assert.equal(await (await post('/x')).text(), '/x asked');
  assert.equal(served.length, 0);
});

test('a lost answer happened at the target, a reset did not', async () => {
  proxy.rules.push({ path: /lost/, times: 1, action: { kind: 'lose-answer' } });
  proxy.rules.push({ path: /reset/, times: 1, action: { kind: 'reset' } });
  await assert.rejects(post('/lost'));
  await assert.rejects(post('/reset'));
  assert.equal(served.length, 1);
  assert.deepEqual(
    proxy.log.map(({ fault, status }) => [fault, status]),
    [
      ['lose-answer', undefined],
      ['reset', undefined],
    ],
  );
});

test('what is held goes on when released, and never once its client went away', async () => {
  const gate = Promise.withResolvers<undefined>();
  proxy.rules.push({ times: 2, action: { kind: 'hold', until: gate.promise } });
  const impatient = fetch(`${proxy.endpoint}/gone`, {
    method: 'POST',
    body: 'asked',
    signal: AbortSignal.timeout(100),
  });
  const patient = post('/held');
  await assert.rejects(impatient);
  assert.equal(served.length, 0);
  await new Promise((resolve) => setTimeout(resolve, 100));
  gate.resolve(undefined);
  assert.equal(await (await patient).text(), 'asked');
  assert.equal(served.length, 1);
});
