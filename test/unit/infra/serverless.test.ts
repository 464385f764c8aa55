import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import { ROOT } from '../../../infra/bundles.ts';
import { FUNCTIONS, roleId, SERVICE } from '../../../infra/names.ts';
import { TASKS } from '../../../infra/resources/roles.ts';
import { PARAMETERS, stackSettings } from '../../../infra/settings.ts';
import { ROUTES } from '../../../lib/http/control/routes.ts';

interface Serverless {
  readonly service: string;
  readonly params: { readonly default: Readonly<Record<string, unknown>> };
  readonly provider: { readonly runtime: string; readonly architecture: string };
  readonly functions: Readonly<
    Record<
      string,
      {
        readonly handler: string;
        readonly role: string;
        readonly timeout: number;
        readonly package: { readonly artifact: string };
        readonly events?:
          string | readonly { readonly httpApi: { method: string; path: string; authorizer: string } }[];
        readonly maximumEventAge?: number;
        readonly destinations?: unknown;
      }
    >
  >;
}

const serverless = parse(readFileSync(join(ROOT, 'serverless.yml'), 'utf8')) as Serverless;

describe('serverless.yml', () => {
  test('routes what the control API answers, and asks who calls on every route', () => {
    const { events } = serverless.functions.api ?? {};
    assert.ok(Array.isArray(events));
    const routed = (events as readonly { httpApi: { method: string; path: string; authorizer: string } }[]).map(
      ({ httpApi }) => httpApi,
    );
    assert.deepEqual(
      routed.map(({ method, path }) => `${method} ${path}`),
      // The last one for every other path and method.
      [...ROUTES.map(({ method, path }) => `${method} ${path}`), '* /v1/{proxy+}'],
    );
    for (const { authorizer } of routed) assert.equal(authorizer, '${self:custom.authorizer}');
    const others = Object.entries(serverless.functions).filter(([name]) => name !== 'api' && name !== 'registry');
    for (const [name, { events }] of others) assert.equal(events, undefined, name);
  });

  test('leaves the door of the registry endpoint to the configuration', () => {
    assert.equal(serverless.functions.registry?.events, '${file(./infra/serverless.js):registryEvents}');
  });

  test('has every function, with a role and a zip of its own', () => {
    assert.equal(serverless.service, SERVICE);
    assert.deepEqual(Object.keys(serverless.functions).sort(), [...FUNCTIONS].sort());
    for (const name of FUNCTIONS) {
      const { role, handler, package: code } = serverless.functions[name]!;
      assert.deepEqual([role, handler, code.artifact], [roleId(name), 'index.handler', `dist/zips/${name}.zip`]);
    }
  });

  test('keeps the events of every function that is invoked asynchronously', () => {
    const synchronous: readonly string[] = ['api', 'registry', 'fetch', ...TASKS];
    for (const [name, { destinations, maximumEventAge }] of Object.entries(serverless.functions)) {
      const kept = destinations !== undefined && maximumEventAge !== undefined;
      assert.equal(kept, !synchronous.includes(name), name);
    }
  });

  test('answers before the API gives up', () => {
    assert.ok(serverless.functions.api!.timeout < 30);
    assert.ok(serverless.functions.registry!.timeout < 30);
  });

  test('a registry is asked for less time than a client of the registry endpoint waits', () => {
    assert.ok(serverless.functions.fetch!.timeout < serverless.functions.registry!.timeout);
  });

  test('names every parameter once, with the default of infra/settings.ts', () => {
    assert.deepEqual(Object.keys(serverless.params.default), [...PARAMETERS]);
    assert.deepEqual(stackSettings('dev', serverless.params.default), stackSettings('dev', {}));
  });
});
