import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Context } from 'aws-lambda';
import { formatBytes, formatDuration } from '../../lib/cli/output.ts';
import { receiptLines } from '../../lib/cli/pull.ts';
import type { Receipt } from '../../lib/pull/receipt.ts';
import { openLocalStack, stackEnvironment } from './connect.ts';
import { tryLock } from './file-lock.ts';
import { homeAt } from './home.ts';
import { SAMPLE_REPOSITORY, SAMPLE_TAG, sampleImage } from './sample/sample-image.ts';
import { type SampleRegistry, startSampleRegistry } from './sample/sample-registry.ts';

/** Remaining time of the invocation, as Lambda reports it. */
const REMAINING_MS = 900_000;

/** The context of an invocation that has just begun. */
export function lambdaContext(): Context {
  const context: Omit<Context, 'done' | 'fail' | 'succeed'> = {
    awsRequestId: 'local',
    functionName: 'pull',
    functionVersion: '$LATEST',
    invokedFunctionArn: 'arn:aws:lambda:us-east-1:000000000000:function:pull',
    memoryLimitInMB: '1024',
    logGroupName: '/aws/lambda/pull',
    logStreamName: 'local',
    callbackWaitsForEmptyEventLoop: false,
    getRemainingTimeInMillis: () => REMAINING_MS,
  };
  return context as Context; // Without the callbacks of Node 0.10, which the types still require.
}

/*
 * npm run quickstart: a first look at Entrepot, on this machine alone. Starts the embedded stack and a sample registry, pulls an image by the
 * Lambda handler, and checks what it shows. Exits with 1 and a message if a check fails.
 */

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
/** A home of its own: it is emptied at each start, so that there is always something to pull. */
const HOME = join(PROJECT, '.entrepot', 'quickstart');
const CONFIG = join(HOME, 'entrepot.yaml');
const STOPPED_WITHIN_MS = 60_000;
/** The user's own value, before it is changed below. */
const ENVIRONMENT = { ...process.env };
/** A name of the configuration; DNS is not asked for it. */
const REGISTRY = 'sample.entrepot.test';
const REFERENCE = `${REGISTRY}/${SAMPLE_REPOSITORY}:${SAMPLE_TAG}`;

async function main(): Promise<void> {
  const start = performance.now();
  say('1. The embedded stack, and a sample registry that holds a multi-arch image');
  emptyHome();
  await using stack = await openLocalStack(HOME);
  await using registry = await startSampleRegistry();
  const image = sampleImage();
  registry.publish(SAMPLE_REPOSITORY, SAMPLE_TAG, image);
  configure(registry);
  // Metrics are lines on stdout, which nothing reads here.
  const quiet = { POWERTOOLS_METRICS_DISABLED: 'true' };
  Object.assign(process.env, stackEnvironment(stack), quiet, { ENTREPOT_CONFIG: CONFIG });
  const imageBytes = [...image.blobs.values()].reduce((sum, blob) => sum + blob.byteLength, 0);
  say(`   S3         ${stack.s3Endpoint}`);
  say(`   DynamoDB   ${stack.dynamoEndpoint}`);
  say(`   registry   ${registry.origin}, as ${REGISTRY}: ${image.blobs.size} blobs, ${formatBytes(imageBytes)}`);

  say('\n2. linux/amd64, by the Lambda handler of a direct invocation');
  const first = await pull('linux/amd64');
  expect(first.outcome === 'pulled' && first.blobs.copied > 0, 'the first pull copies blobs');
  expect(blobGets(registry) === first.blobs.copied, 'every blob is fetched once');

  say('\n3. The same again: it is in the cache, so the registry is not asked');
  const asked = registry.requests.length;
  const second = await pull('linux/amd64');
  expect(second.outcome === 'hit' && second.registryRequests.total === 0, 'the second pull is a hit without a request');
  expect(registry.requests.length === asked, 'the registry got no request');

  say('\n4. linux/arm64: layers that both platforms share are there already');
  const third = await pull('linux/arm64');
  expect(third.outcome === 'pulled' && third.blobs.copied > 0, 'the other platform is pulled');
  expect(third.blobs.present > 0, 'shared blobs are not copied again');
  expect(blobGets(registry) === first.blobs.copied + third.blobs.copied, 'only new blobs are fetched');

  say('\n5. What the cache holds, by the command line');
  await entrepot('images');
  await entrepot('validate', REFERENCE, '--deep');

  say(`\nAll as it should be, in ${formatDuration(performance.now() - start)}. What to type next:\n`);
  say(`  export ENTREPOT_HOME=${relative(PROJECT, HOME)}          # the cache that was just filled`);
  say('  npm run -s entrepot -- images --json');
  say(`  npm run entrepot -- validate ${REFERENCE} --deep`);
  say(`  npm run entrepot -- pull ${REFERENCE}     # a hit, though its registry is gone`);
  say('  npm run entrepot -- local                       # keeps S3 and DynamoDB running, for a look at them\n');
  say('  unset ENTREPOT_HOME                             # a cache of your own, in .entrepot/');
  say('  npm run entrepot -- pull alpine:3.20 --platform linux/amd64');
}

/** Removes the credentials, so that a supervisor that still serves the home ends, and then the rest. */
function emptyHome(): void {
  const home = homeAt(HOME);
  if (existsSync(HOME)) {
    rmSync(home.credentials, { force: true });
    const lock = tryLock(home.supervisorLock, STOPPED_WITHIN_MS);
    if (lock === undefined) throw new Error(`${HOME} is in use; end what uses it, and try again`);
    lock[Symbol.dispose]();
    rmSync(HOME, { recursive: true, maxRetries: 5 });
  }
  mkdirSync(HOME, { recursive: true, mode: 0o700 });
}

function configure(registry: SampleRegistry): void {
  writeFileSync(CONFIG, `registries:\n  ${REGISTRY}:\n    endpoint: ${registry.origin}\n    credentials: none\n`);
}

/** Pulls as a direct invocation of the function does, and shows the receipt. */
async function pull(platform: string): Promise<Receipt> {
  // Loaded here, because it reads the environment when it loads, as on Lambda.
  const { handler } = await import('../../functions/pull.ts');
  const receipt = (await handler({ reference: REFERENCE, platforms: [platform] }, lambdaContext())) as Receipt;
  for (const line of receiptLines(receipt)) say(`   ${line}`);
  return receipt;
}

/** Runs the command line as a user would. */
async function entrepot(...args: readonly string[]): Promise<void> {
  say(`   $ entrepot ${args.join(' ')}`);
  const launcher = join(PROJECT, 'lib', 'cli', 'entrepot.js');
  const env: NodeJS.ProcessEnv = { ...ENVIRONMENT, ENTREPOT_HOME: HOME };
  for (const name of ['ENTREPOT_BUCKET', 'ENTREPOT_TABLE', 'ENTREPOT_CONFIG']) Reflect.deleteProperty(env, name);
  const child = spawn(process.execPath, [launcher, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env,
    windowsHide: true,
  });
  const exited = once(child, 'exit');
  let output = '';
  for await (const chunk of child.stdout.setEncoding('utf8')) output += chunk as string;
  for (const line of output.trimEnd().split('\n')) say(`   ${line}`);
  const [code] = (await exited) as [number | null];
  expect(code === 0, `entrepot ${args.join(' ')} succeeds`);
}

const blobGets = (registry: SampleRegistry): number =>
  registry.requests.filter(({ kind, method }) => kind === 'blob' && method === 'GET').length;

function expect(isSo: boolean, what: string): void {
  if (!isSo) throw new Error(`check failed: ${what}`);
  say(`   ✔ ${what}`);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

try {
  await main();
} catch (error) {
  console.error(`\nquickstart: ${error instanceof Error ? error.message : String(error)}`);
  if (error instanceof Error && error.cause !== undefined) console.error(error.cause);
  process.exitCode = 1;
}
