import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import { OPENAPI_FILE, openApiDocument, packageVersion } from '../../../infra/openapi.ts';
import { ANSWERS } from '../../../lib/http/control/answer-schemas.ts';
import { ROUTES } from '../../../lib/http/control/routes.ts';

type Json = Record<string, unknown>;
interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly Json[];
  readonly requestBody?: Json;
  readonly responses: Record<string, Json>;
}

const document = openApiDocument('0.0.0');
const paths = document.paths as Record<string, Record<string, Operation>>;
const operations = Object.entries(paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
);

/** What a reference within the document leads to. */
function followed(node: Json): Json {
  if (typeof node.$ref !== 'string') return node;
  assert.match(node.$ref, /^#\//);
  const found = node.$ref
    .slice(2)
    .split('/')
    .reduce<unknown>((at, key) => (at as Json | undefined)?.[key.replace(/~1/g, '/').replace(/~0/g, '~')], document);
  assert.ok(typeof found === 'object' && found !== null, `${node.$ref} leads nowhere`);
  return found as Json;
}

function* nodesOf(node: unknown): Generator<Json> {
  if (typeof node !== 'object' || node === null) return;
  if (!Array.isArray(node)) yield node as Json;
  for (const child of Object.values(node)) yield* nodesOf(child);
}

test('docs/openapi.json is what the schemas say: after a change run node infra/openapi.ts', async () => {
  const kept: unknown = JSON.parse(await readFile(OPENAPI_FILE, 'utf8'));
  assert.deepEqual(kept, JSON.parse(JSON.stringify(openApiDocument(await packageVersion()))));
});

describe('the document is whole', () => {
  test('its head is OpenAPI 3.1', () => {
    assert.match(String(document.openapi), /^3\.1\.\d$/);
    const { title, version } = document.info as Json;
    assert.ok(title !== '' && version === '0.0.0');
  });

  test('every reference leads somewhere, and every component is used', () => {
    const used = new Set([...nodesOf(document)].map((node) => node.$ref).filter((target) => target !== undefined));
    for (const $ref of used) followed({ $ref });
    const components = document.components as Record<string, Json>;
    for (const [kind, named] of Object.entries(components)) {
      if (kind === 'securitySchemes') continue;
      for (const name of Object.keys(named)) assert.ok(used.has(`#/components/${kind}/${name}`), `${kind}/${name}`);
    }
  });

  test('every operation has its id once, and each answer a description', () => {
    const ids = operations.map(({ operation }) => operation.operationId);
    assert.equal(new Set(ids).size, ids.length);
    for (const { operation } of operations) {
      for (const [status, response] of Object.entries(operation.responses)) {
        assert.match(status, /^[2-5]\d\d$/);
        const { description, content = {} } = followed(response);
        assert.ok(typeof description === 'string' && description !== '');
        for (const media of Object.values(content as Record<string, Json>)) assert.ok(media.schema !== undefined);
      }
    }
  });

  test('the variables of a path are its parameters, and only they are in the path', () => {
    for (const { path, operation } of operations) {
      const parameters = (operation.parameters ?? []).map(followed);
      const variables = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      const inPath = parameters.filter((parameter) => parameter.in === 'path');
      assert.deepEqual(
        inPath.map((parameter) => [parameter.name, parameter.required]),
        variables.map((name) => [name, true]),
      );
      const names = parameters.map((parameter) => `${String(parameter.in)} ${String(parameter.name)}`);
      assert.equal(new Set(names).size, names.length);
      for (const parameter of parameters) assert.ok(parameter.schema !== undefined);
    }
  });

  test('every operation asks for a caller by a scheme that is described', () => {
    const { securitySchemes } = document.components as { securitySchemes: Json };
    const required = document.security as Json[];
    assert.ok(required.length > 0);
    for (const one of required) {
      for (const name of Object.keys(one)) assert.ok(name in securitySchemes);
      assert.notDeepEqual(one, {}, 'an empty requirement would mean nobody');
    }
    for (const { operation } of operations) assert.ok(!('security' in operation) && '401' in operation.responses);
  });
});

describe('the same routes everywhere', () => {
  const table = ROUTES.map(({ method, path }) => `${method} ${path}`).sort();

  test('in the document, with the answers that tests hold the function to', () => {
    assert.deepEqual(operations.map(({ method, path }) => `${method} ${path}`).sort(), table);
    for (const { operation } of operations) {
      const good = Object.keys(operation.responses).filter((status) => status < '400');
      assert.deepEqual(good, Object.keys(ANSWERS[operation.operationId as keyof typeof ANSWERS]));
    }
  });

  test('in serverless.yml, each with an authoriser', async () => {
    const file = join(import.meta.dirname, '../../../serverless.yml');
    interface HttpEvent {
      readonly httpApi?: { readonly method: string; readonly path: string; readonly authorizer?: unknown };
    }
    const { functions } = parse(await readFile(file, 'utf8')) as {
      functions: Record<string, { readonly events?: string | readonly HttpEvent[] }>;
    };
    const doors = Object.entries(functions).flatMap(([name, { events = [] }]) =>
      // Those of the registry endpoint are made by infra/application.ts: it is no part of the control API.
      (typeof events === 'string' ? [] : events).flatMap(({ httpApi }) =>
        httpApi === undefined ? [] : [{ name, ...httpApi }],
      ),
    );
    const others = '* /v1/{proxy+}';
    assert.deepEqual(doors.map(({ method, path }) => `${method} ${path}`).sort(), [others, ...table]);
    for (const { name, path, authorizer } of doors) {
      assert.equal(name, 'api', path);
      assert.ok(authorizer !== undefined, `${path} is open`);
    }
  });
});
