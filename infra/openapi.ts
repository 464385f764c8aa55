import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { format, resolveConfig } from 'prettier';
import * as z from 'zod/mini';
import {
  deploymentSchema,
  imageSchema,
  imagesSchema,
  problemSchema,
  pullSchema,
  receiptSchema,
  tokenSchema,
  validationSchema,
} from '../lib/http/control/answer-schemas.ts';
import {
  imageQuerySchema,
  imagesQuerySchema,
  PAGE_LIMIT,
  pullBodySchema as pullRequestSchema,
  tokenBodySchema as tokenRequestSchema,
  validateSchema,
} from '../lib/http/control/requests.ts';
import { type Operation, type Route, ROUTES } from '../lib/http/control/routes.ts';

/*
 * docs/openapi.json: the control API by the table of its routes and by the schemas that check what comes in and describe what goes out.
 *
 *   node infra/openapi.ts            writes it
 */

export const OPENAPI_FILE = join(import.meta.dirname, '..', 'docs', 'openapi.json');

type Json = Record<string, unknown>;

/** What the table of routes does not hold for an operation. */
interface OperationText {
  readonly summary: string;
  readonly description?: string;
  readonly parameters?: readonly Json[];
  readonly body?: keyof typeof BODIES;
  readonly isBodyOptional?: true;
  readonly responses: Readonly<Record<string, Json>>;
  /** Statuses of problems, beside those that every operation has. */
  readonly problems: readonly (keyof typeof PROBLEMS)[];
}

const BODIES = { PullRequest: pullRequestSchema, ValidateRequest: validateSchema, TokenRequest: tokenRequestSchema };
const ANSWERS = {
  Receipt: receiptSchema,
  Pull: pullSchema,
  Image: imageSchema,
  ImagePage: imagesSchema,
  Validation: validationSchema,
  Token: tokenSchema,
  Deployment: deploymentSchema,
  Problem: problemSchema,
};

const PROBLEMS = {
  400: 'The request makes no sense; `field` says where.',
  401: 'Nobody that is known signed the request.',
  403: 'The caller may not use the repository, or the registry refused us. Says nothing of what there is.',
  404: 'There is no such thing.',
  422: 'The registry has a manifest that the cache does not take, or says that the request is wrong: no retry mends it.',
  429: 'The registry asks for patience.',
  500: 'A fault of ours: it is in the log, by `requestId`.',
  502: 'The registry answered with something that cannot be used.',
  503: 'Something that is needed cannot be reached, or took too long: ask again.',
  504: 'The registry took too long.',
} as const;
/** What every operation may answer. A wrong method, 405, is answered by no operation. */
const ALWAYS = [401, 403, 500, 503] as const;

const ref = (kind: string, name: string): Json => ({ $ref: `#/components/${kind}/${name}` });

const json = (description: string, schema: Json, headers?: Json): Json => ({
  description,
  headers: { 'x-request-id': ref('headers', 'RequestId'), ...headers },
  content: { 'application/json': { schema } },
});

const applied = { 'preference-applied': ref('headers', 'PreferenceApplied') };

/** The properties of a query's schema, as parameters. */
function queryOf(schema: z.ZodMiniType, isRequired: boolean): Json[] {
  const { properties = {} } = jsonSchemaOf(schema) as { properties?: Record<string, Json> };
  return Object.entries(properties).map(([name, { description, ...rest }]) => ({
    name,
    in: 'query',
    required: isRequired,
    description,
    schema:
      name === 'limit'
        ? { type: 'integer', minimum: PAGE_LIMIT.least, maximum: PAGE_LIMIT.most, default: PAGE_LIMIT.usual }
        : rest,
  }));
}

/** A schema of what callers send: before it is parsed. */
function jsonSchemaOf(schema: z.ZodMiniType): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input' }) as Json;
  return rest;
}

const OPERATIONS: Readonly<Record<Operation, OperationText>> = {
  pull: {
    summary: 'Makes sure that an image is in the cache',
    description:
      'A hit is answered at once. Otherwise the pull of the same image that is under way is joined, or one is started; the answer comes when it has ended, at the latest after `Prefer: wait=N` seconds (at most, and by default, 20). Asking again is always safe.',
    parameters: [ref('parameters', 'Prefer')],
    body: 'PullRequest',
    responses: {
      200: json('It is there.', ref('schemas', 'Receipt'), applied),
      202: json('The pull goes on.', ref('schemas', 'Pull'), {
        ...applied,
        location: { description: 'Where to ask for it.', schema: { type: 'string' } },
        'retry-after': ref('headers', 'RetryAfter'),
      }),
    },
    problems: [400, 404, 422, 429, 502, 504],
  },
  findPull: {
    summary: 'How far a pull is, and how it ended',
    description: 'Pulls are forgotten some days after they ended. One that the caller may not see is unknown.',
    parameters: [ref('parameters', 'PullId')],
    responses: { 200: json('The pull.', ref('schemas', 'Pull')) },
    problems: [404],
  },
  listImages: {
    summary: 'What is in the cache',
    description:
      'With `reference` one image, else a page of all that the caller may use, in the order of their names: follow `next` until it is null.',
    parameters: [...queryOf(imageQuerySchema, false), ...queryOf(imagesQuerySchema, false)],
    responses: {
      200: json('A page, or with `reference` one image.', {
        oneOf: [ref('schemas', 'ImagePage'), ref('schemas', 'Image')],
      }),
    },
    problems: [400, 404],
  },
  removeTag: {
    summary: 'Removes a tag',
    description:
      'Or what is known of an image by digest. The content stays, and so do other tags of it. Waits for a pull of the same reference that is under way.',
    parameters: queryOf(imageQuerySchema, true),
    responses: { 204: { description: 'It is gone.', headers: { 'x-request-id': ref('headers', 'RequestId') } } },
    problems: [400, 404],
  },
  validate: {
    summary: 'Whether an image is all there',
    description: 'Asks no registry.',
    body: 'ValidateRequest',
    responses: { 200: json('What was found, complete or not.', ref('schemas', 'Validation')) },
    problems: [400],
  },
  token: {
    summary: 'A password for the registry endpoint',
    description:
      'For the caller, for an hour at most: it may pull what the caller may use. Not to be had (404) where the deployment has no secret to sign with.',
    body: 'TokenRequest',
    isBodyOptional: true,
    responses: { 200: json('What to log in with.', ref('schemas', 'Token')) },
    problems: [400, 404],
  },
  deployment: {
    summary: 'Where this deployment keeps things',
    description: 'For operators, and for `entrepot doctor`. Names only.',
    responses: { 200: json('Its names, and who asks.', ref('schemas', 'Deployment')) },
    problems: [],
  },
};

function operationOf({ operation, path }: Route & { operation: Operation }): Json {
  const { summary, description, parameters, body, isBodyOptional, responses, problems } = OPERATIONS[operation];
  const statuses = [...ALWAYS, ...problems].sort((a, b) => a - b);
  return {
    operationId: operation,
    summary,
    ...(description === undefined ? {} : { description }),
    tags: [path.split('/')[2]],
    ...(parameters === undefined ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : {
          requestBody: {
            required: isBodyOptional !== true,
            content: { 'application/json': { schema: ref('schemas', body) } },
          },
        }),
    responses: {
      ...responses,
      ...Object.fromEntries(statuses.map((status) => [status, ref('responses', `Problem${status}`)])),
    },
  };
}

/** Answers refer to one another by name; schemas of requests are inline. */
function schemas(): Json {
  const registry = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries(ANSWERS)) registry.add(schema, { id });
  const { schemas: answers } = z.toJSONSchema(registry, {
    uri: (id) => `#/components/schemas/${id}`,
    override: ({ jsonSchema }) => {
      // Answers may get more fields later, and clients must accept them.
      delete jsonSchema.additionalProperties;
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
    },
  }) as { schemas: Record<string, Json> };
  const named = Object.entries(answers).map(([id, { $schema: _, $id: __, ...schema }]) => [id, schema] as const);
  const bodies = Object.entries(BODIES).map(([id, schema]) => [id, jsonSchemaOf(schema)] as const);
  return Object.fromEntries([...bodies, ...named]);
}

const problemResponse = (description: string, status: number): Json => ({
  description,
  headers: {
    'x-request-id': ref('headers', 'RequestId'),
    ...(status === 429 || status === 503 ? { 'retry-after': ref('headers', 'RetryAfter') } : {}),
  },
  content: { 'application/problem+json': { schema: ref('schemas', 'Problem') } },
});

/** The document. `version` is the package's. */
export function openApiDocument(version: string): Json {
  const paths: Record<string, Json> = {};
  for (const route of ROUTES) {
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operationOf(route) };
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'Entrepot control API',
      version,
      summary: 'Fills, lists and checks a cache of OCI images.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [
      {
        url: 'https://{api}.execute-api.{region}.amazonaws.com',
        variables: { api: { default: 'abcdefghij' }, region: { default: 'us-east-1' } },
      },
    ],
    security: [{ sigv4: [] }, { jwt: [] }],
    tags: ['pull', 'pulls', 'images', 'validate', 'token', 'deployment'].map((name) => ({ name })),
    paths,
    components: {
      schemas: schemas(),
      parameters: {
        PullId: { name: 'id', in: 'path', required: true, schema: { type: 'string', format: 'uuid' } },
        Prefer: {
          name: 'Prefer',
          in: 'header',
          description: '`wait=N`: how many seconds to wait for the end of a pull (RFC 7240); 0 does not wait.',
          schema: { type: 'string' },
          example: 'wait=5',
        },
      },
      headers: {
        RequestId: { description: 'Of this request, as in the log.', schema: { type: 'string' } },
        PreferenceApplied: { description: 'The wait that was applied.', schema: { type: 'string' } },
        RetryAfter: { description: 'Seconds.', schema: { type: 'integer', minimum: 1 } },
      },
      responses: Object.fromEntries(
        Object.entries(PROBLEMS).map(([status, text]) => [`Problem${status}`, problemResponse(text, Number(status))]),
      ),
      securitySchemes: {
        sigv4: {
          type: 'apiKey',
          name: 'Authorization',
          in: 'header',
          'x-amazon-apigateway-authtype': 'awsSigv4',
          description: 'The default: AWS Signature Version 4 for the service `execute-api`.',
        },
        jwt: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'JWT',
          description: 'Instead, where `access.jwt` is configured.',
        },
      },
    },
  };
}

/** The version that package.json says. */
export async function packageVersion(): Promise<string> {
  const file = await readFile(join(import.meta.dirname, '..', 'package.json'), 'utf8');
  return (JSON.parse(file) as { version: string }).version;
}

if (import.meta.main) {
  const document = JSON.stringify(openApiDocument(await packageVersion()));
  const options = (await resolveConfig(OPENAPI_FILE)) ?? {};
  await writeFile(OPENAPI_FILE, await format(document, { ...options, parser: 'json' }));
  console.log(`docs/openapi.json: ${ROUTES.length} operations`);
}
