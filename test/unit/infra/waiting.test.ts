import { LambdaClient } from '@aws-sdk/client-lambda';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { waitingAdvice } from '../../../infra/packaging/waiting.ts';

/** What is said where Lambda gives this answer to GetAccountSettings. */
async function adviceOf(
  answer: { status: number; body: string },
  waiting: number,
  settings: Parameters<typeof waitingAdvice>[2],
): Promise<{ advice: string; asked: readonly string[] }> {
  const asked: string[] = [];
  const server = createServer(({ method, url }, response) => {
    asked.push(`${method} ${url}`);
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(answer.body);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const client = new LambdaClient({
    region: 'eu-central-1',
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    credentials: { accessKeyId: 'a', secretAccessKey: 'b' },
    maxAttempts: 1,
  });
  try {
    const serve = { waiting } as Parameters<typeof waitingAdvice>[1]['serve'];
    return { advice: await waitingAdvice(client, { serve }, settings, new AbortController().signal), asked };
  } finally {
    client.destroy();
    server.close();
    server.closeAllConnections();
  }
}

const limits = (all: number, unreserved = all): { status: number; body: string } => ({
  status: 200,
  body: JSON.stringify({ AccountLimit: { ConcurrentExecutions: all, UnreservedConcurrentExecutions: unreserved } }),
});

test('half of what the account leaves to the registry endpoint may wait', async () => {
  for (const [all, unreserved, waiting, settings, most, fits] of [
    [1_000, 1_000, 300, { copyConcurrency: 40 }, 480, true],
    // The stack is there already, and reserves its 40 itself.
    [1_000, 960, 300, { copyConcurrency: 40 }, 480, true],
    [1_000, 400, 300, { copyConcurrency: 40 }, 200, false],
    [10, 10, 300, {}, 5, false],
    [10, 10, 300, { copyConcurrency: 40 }, 1, false],
    [1_000, 1_000, 501, {}, 500, false],
    [1_000, 1_000, 500, {}, 500, true],
  ] as const) {
    const { advice, asked } = await adviceOf(limits(all, unreserved), waiting, settings);
    assert.equal(asked.length, 1);
    assert.match(asked[0]!, /^GET \/[\d-]+\/account-settings\/?$/);
    const expected = fits ? `up to ${most} is fine` : `Write "serve: {waiting: ${most}}"`;
    assert.ok(advice.startsWith(`serve.waiting is ${waiting}`) && advice.includes(expected), advice);
  }
});

test('an endpoint with invocations of its own is judged by them, and nobody is asked', async () => {
  const own = { registryConcurrency: 100, copyConcurrency: 40 };
  const { advice, asked } = await adviceOf(limits(1_000), 300, own);
  assert.match(advice, /Write "serve: \{waiting: 50\}"/);
  assert.deepEqual(asked, []);
});

test('where the account cannot be asked, that is said', async () => {
  for (const answer of [
    { status: 403, body: '{"message":"not authorized to perform: lambda:GetAccountSettings"}' },
    { status: 200, body: '{}' },
    { status: 200, body: 'no JSON' },
  ]) {
    const { advice } = await adviceOf(answer, 300, {});
    assert.match(
      advice,
      /^serve\.waiting is 300; this account.s concurrency could not be read: /,
      JSON.stringify(answer),
    );
  }
});
