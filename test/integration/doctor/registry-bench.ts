import assert from 'node:assert/strict';
import { startSampleRegistry, type SampleRegistry } from '../../../infra/local/sample/sample-registry.ts';
import { ContradictionError, SkipError } from '../../../lib/doctor/check.ts';
import { askExactly } from '../../../lib/doctor/exact-http.ts';
import { REGISTRY_CHECKS } from '../../../lib/doctor/registry-checks.ts';
import { REGISTRY_CONTENT_CHECKS } from '../../../lib/doctor/registry-content-checks.ts';
import { openRegistryFixture, type RegistryFixture } from '../../../lib/doctor/registry-fixture.ts';
import { requestsIn } from '../../../lib/doctor/sigv4-requests.ts';
import { readDeployment, type Target } from '../../../lib/doctor/target.ts';
import { startFaultProxy, type FaultProxy, type FaultRule } from '../../support/http-fault-proxy.ts';
import { multiArchImage } from '../../support/images.ts';
import type { LocalApplication } from '../../../infra/local/app/application.ts';
import { startEmbeddedApplication } from '../../support/embedded-application.ts';

const REPOSITORY = 'team/app';
export const NAME = `sample.example.test/${REPOSITORY}`;
export const TAG = 'v1';
export const image = multiArchImage({ name: 'app', attestations: true });
export const INDEX = image.root.digest;
export const REGISTRY_IDS = [...REGISTRY_CHECKS, ...REGISTRY_CONTENT_CHECKS].map(({ id }) => id);

/** What tells an answer of the function from one of the door. */
export const OURS = { 'docker-distribution-api-version': 'registry/2.0', 'content-type': 'application/json' };
export const errors = (code: string): string => JSON.stringify({ errors: [{ code, message: 'no' }] });

/** An answer of the door by itself, to requests that match. */
export interface Lie {
  readonly method?: string;
  readonly path?: RegExp;
  /** Headers of the request. */
  readonly sent?: Readonly<Record<string, RegExp>>;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly body?: string | Buffer;
}

/** An answer as a lie begins with it. */
export interface Real {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** The embedded application with the sample image in it, and before its registry endpoint a door that lies when it is told to. */
export interface LyingDoor extends AsyncDisposable {
  readonly sample: SampleRegistry;
  readonly application: LocalApplication;
  readonly door: FaultProxy;
  readonly target: Target;
  fixture(seen?: Target): RegistryFixture;
  /** What the check says behind a door that tells these lies, and otherwise hands everything on. */
  look(id: string, lies?: readonly Lie[], seen?: Target): Promise<string>;
  /** The check finds the lie out, for this reason. */
  contradicted(id: string, lie: Lie | readonly Lie[], why: RegExp): Promise<void>;
  /** What the endpoint really answers. */
  real(method: string, path: string): Promise<Real>;
}

export async function startLyingDoor(): Promise<LyingDoor> {
  await using resources = new AsyncDisposableStack();
  const sample = await startSampleRegistry();
  resources.defer(() => sample.close());
  sample.publish(REPOSITORY, TAG, image);
  const application = resources.use(
    await startEmbeddedApplication({
      registries: { 'sample.example.test': { endpoint: sample.origin, credentials: 'none' } },
      limits: { leaseSeconds: 2 },
      serve: { auth: 'tokens' },
    }),
  );
  Object.assign(process.env, application.environment);
  const door = resources.use(await startFaultProxy(application.origin));
  const target = await targetOf(application, door);
  const pulled = await fetch(`${application.origin}/v1/pull`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ reference: target.image }),
  });
  assert.equal(pulled.status, 200, await pulled.text());

  const forever = new AbortController().signal;
  const fixture = (seen: Target = target): RegistryFixture => {
    const opened = openRegistryFixture(seen);
    assert.ok(!(opened instanceof SkipError));
    return opened;
  };
  const login = await fixture().newLogin(forever);
  const look = (id: string, lies: readonly Lie[] = [], seen: Target = target): Promise<string> => {
    door.rules.splice(0, Infinity, ...lies.map(ruleOf));
    const check = [...REGISTRY_CHECKS, ...REGISTRY_CONTENT_CHECKS].find((one) => one.id === id);
    assert.ok(check !== undefined, id);
    return check.run(fixture(seen), forever);
  };
  const running = resources.move();
  return {
    sample,
    application,
    door,
    target,
    fixture,
    look,
    contradicted: (id, lie, why) =>
      assert.rejects(look(id, [lie].flat()), (error: Error) => {
        assert.ok(error instanceof ContradictionError, `${error.name}: ${error.message}`);
        assert.match(error.message, why);
        return true;
      }),
    async real(method, path) {
      const call = { method, path, headers: { authorization: login } };
      const { status, headers, bytes } = await askExactly(new URL(application.origin), call, forever);
      const { connection: _, date: __, ...kept } = headers;
      return {
        status,
        headers: Object.fromEntries(Object.entries(kept).map(([name, [line = '']]) => [name, line])),
        body: bytes,
      };
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function targetOf(application: LocalApplication, door: FaultProxy): Promise<Target> {
  const { AWS_REGION: region = '' } = application.environment;
  const reached = {
    url: application.origin,
    isLocal: true,
    region,
    requests: requestsIn(region),
    image: `${NAME}:${TAG}`,
    registryUrl: door.endpoint,
  };
  return { ...reached, deployment: await readDeployment(reached, new AbortController().signal) };
}

const ruleOf = ({ status = 200, headers = {}, body = '', sent = {}, ...rule }: Lie): FaultRule => ({
  ...rule,
  headers: sent,
  times: Infinity,
  action: { kind: 'answer', answer: { status, headers, body } },
});
