import * as z from 'zod/mini';
import { LIFETIME } from '../../access/minted.ts';
import { CacheError, InvalidRequestError } from '../../errors/cache-error.ts';
import { parsePlatform } from '../../oci/platform.ts';
import type { PullRequest } from '../../pull/pull-request.ts';
import { parseReference, type Reference, type Repository } from '../../reference/reference.ts';
import type { ValidateRequest } from '../../repair/validate.ts';

/*
 * What callers may send. The schemas that check it are also what docs/openapi.json says of it (infra/openapi.ts): so each has a description.
 */

const MAX_IMAGES = 100;
const MAX_PLATFORMS = 50;
const MAX_CHARACTERS = 1024;
/** How many images a page has at most. */
export const PAGE_LIMIT = { least: 1, most: 100, usual: 50 } as const;

/** The input of one event. `one`: the answer is a receipt; `list`: a list of receipts. */
export type PullInput =
  | { readonly kind: 'one'; readonly request: PullRequest }
  | { readonly kind: 'list'; readonly requests: readonly PullRequest[] };

const text = z
  .string('must be a string')
  .check(z.minLength(1, 'is empty'), z.maxLength(MAX_CHARACTERS, `is longer than ${MAX_CHARACTERS} characters`));

/** Text that `parse` accepts. Its error becomes the issue, and keeps its code. */
const parsed = <T>(parse: (value: string) => T, description: string) =>
  z.pipe(
    text.check(z.describe(description)),
    z.transform((value: string, context): T => {
      try {
        return parse(value);
      } catch (error) {
        if (!(error instanceof CacheError)) throw error;
        context.issues.push({ code: 'custom', message: error.message, params: { cause: error }, input: value });
        return z.NEVER;
      }
    }),
  );

/** An object; the texts are for a value that is not an object, and for an unknown field. */
const objectLike = (what: string, example: string) => ({
  error: (issue: { code?: string | undefined }): string =>
    issue.code === 'unrecognized_keys' ? what : `must be an object such as ${example}`,
});

const reference = parsed(
  parseReference,
  'An image, as Docker writes it: `alpine`, `ghcr.io/org/app:1.2`, `registry.example.test:5000/team/app@sha256:…`. A digest wins over a tag.',
);

const platforms = z._default(
  z
    .array(
      parsed((value) => parsePlatform(value), '`os/architecture[/variant]`: `linux/amd64`, `linux/arm/v7`.'),
      'must be a list such as ["linux/amd64"]',
    )
    .check(
      z.maxLength(MAX_PLATFORMS, `has more than ${MAX_PLATFORMS} entries`),
      z.describe(
        'What is wanted of an index. None: the platforms that the configuration lists for the registry, else all.',
      ),
    ),
  [],
);

const flag = (description: string, otherwise: boolean) =>
  z._default(z.boolean('must be true or false').check(z.describe(description)), otherwise);

const attestations = flag('Whether attestations go along with the manifests that they describe.', true);

/** One image to pull. */
export const pullBodySchema = z.strictObject(
  {
    reference,
    platforms,
    alwaysPull: flag('Ask the registry what the reference means, even where the cache knows an answer.', false),
    attestations,
  },
  objectLike('an image has "reference", "platforms", "alwaysPull" and "attestations"', '{"reference": "alpine"}'),
);

/** One image to look at. */
export const validateSchema = z.strictObject(
  {
    reference,
    platforms,
    attestations,
    deep: flag(
      'Also look at every object in the bucket; what is gone or wrong is marked, so that the next pull brings it again.',
      false,
    ),
  },
  objectLike(
    'a validation has "reference", "platforms", "attestations" and "deep"',
    '{"reference": "alpine", "deep": true}',
  ),
);

const lifetime = `must be a whole number from ${LIFETIME.least} to ${LIFETIME.most}`;

/** How long a password is wanted for. */
export const tokenBodySchema = z.strictObject(
  {
    lifetimeSeconds: z._default(
      z
        .int(lifetime)
        .check(
          z.gte(LIFETIME.least, lifetime),
          z.lte(LIFETIME.most, lifetime),
          z.describe('How long the password is taken.'),
        ),
      LIFETIME.usual,
    ),
  },
  objectLike('it takes "lifetimeSeconds" alone', '{"lifetimeSeconds": 900}'),
);

/** The query that asks for one image. */
export const imageQuerySchema = z.strictObject(
  { reference },
  objectLike('it takes "reference" alone', '?reference=alpine'),
);

/** The query that asks for a page of images. */
export const imagesQuerySchema = z.strictObject(
  {
    repository: z.optional(parsed(parseRepository, 'Only the images of this repository: `docker.io/library/alpine`.')),
    limit: z._default(parsed(parseLimit, 'How many images a page has at most.'), PAGE_LIMIT.usual),
    next: z.optional(text.check(z.describe('`next` of the page before, with the same `repository`.'))),
  },
  objectLike('it takes "reference", or "repository", "limit" and "next"', '?limit=50'),
);

export type ImagesQuery = z.output<typeof imagesQuerySchema>;

/** @throws InvalidRequestError, InvalidNameError */
function parseRepository(name: string): Repository {
  if (/@|:[^/]*$/.test(name)) {
    throw new InvalidRequestError(
      'repository',
      'a repository has neither tag nor digest; write for example docker.io/library/alpine',
    );
  }
  return parseReference(name).repository;
}

/** @throws InvalidRequestError */
function parseLimit(digits: string): number {
  const limit = /^\d{1,3}$/.test(digits) ? Number(digits) : 0;
  if (limit >= PAGE_LIMIT.least && limit <= PAGE_LIMIT.most) return limit;
  throw new InvalidRequestError('limit', `must be a number from ${PAGE_LIMIT.least} to ${PAGE_LIMIT.most}`);
}

const images = z.strictObject(
  {
    images: z
      .array(pullBodySchema, 'must be a list such as [{"reference": "alpine"}]')
      .check(z.minLength(1, 'names no image'), z.maxLength(MAX_IMAGES, `has more than ${MAX_IMAGES} entries`)),
  },
  objectLike('a list of images has "images" alone', '{"images": [{"reference": "alpine"}]}'),
);

/**
 * The one image that a body of `POST /v1/pull` asks for.
 *
 * @throws InvalidRequestError naming the field that is wrong: `platforms[1]`.
 */
export const parsePullBody = (document: unknown): PullRequest => checked(pullBodySchema, asMap(document), '');

/** What a body of `POST /v1/validate` asks for. @throws InvalidRequestError */
export const parseValidateBody = (document: unknown): ValidateRequest => checked(validateSchema, asMap(document), '');

/** What a body of `POST /v1/token` asks for. @throws InvalidRequestError */
export const parseTokenBody = (document: unknown): z.output<typeof tokenBodySchema> =>
  checked(tokenBodySchema, document, '');

/** What a query of `/v1/images` names. @throws InvalidRequestError */
export const parseImageQuery = (query: Readonly<Record<string, string>>): Reference =>
  checked(imageQuerySchema, query, '').reference;

/** Which page of images is asked for. @throws InvalidRequestError */
export const parseImagesQuery = (query: Readonly<Record<string, string>>): ImagesQuery =>
  checked(imagesQuerySchema, query, '');

function asMap(document: unknown): Record<string, unknown> {
  if (isMap(document)) return document;
  throw new InvalidRequestError('body', 'the request is not a JSON object; send {"reference": "…"}');
}

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * What the document asks for: `{"reference", "platforms"?, "alwaysPull"?}` or `{"images": [the same, …]}`; either also under `detail`, where
 * EventBridge puts it (the rest of such an envelope is not looked at). Strict and bounded; everything is parsed here, once.
 *
 * @throws InvalidRequestError naming the field that is wrong: `images[0].reference`, `detail.platforms[1]`.
 */
export function parsePullInput(document: unknown): PullInput {
  if (!isMap(document)) {
    throw new InvalidRequestError(
      'body',
      'the request is not a JSON object; send {"reference": "…"} or {"images": […]}',
    );
  }
  if (!('detail' in document)) return parseBare(document, '');
  if (!isMap(document.detail)) {
    throw new InvalidRequestError(
      'detail',
      '"detail" is not a JSON object; send {"reference": "…"} or {"images": […]}',
    );
  }
  for (const key of ['reference', 'images']) {
    if (key in document) {
      throw new InvalidRequestError(
        key,
        `there is both "detail" and ${JSON.stringify(key)} beside it; send one of them`,
      );
    }
  }
  return parseBare(document.detail, 'detail');
}

function parseBare(document: Record<string, unknown>, prefix: string): PullInput {
  if ('images' in document) return { kind: 'list', requests: checked(images, document, prefix).images };
  if ('reference' in document) return { kind: 'one', request: checked(pullBodySchema, document, prefix) };
  throw new InvalidRequestError(
    fieldOf(prefix, ['reference']),
    'there is neither "reference" nor "images"; send {"reference": "…"} or {"images": [{"reference": "…"}]}',
  );
}

function checked<T extends z.ZodMiniType>(schema: T, document: unknown, prefix: string): z.output<T> {
  const outcome = schema.safeParse(document);
  if (outcome.success) return outcome.data;
  const [issue] = outcome.error.issues;
  if (issue?.code === 'unrecognized_keys') {
    const key = String(issue.keys[0]).slice(0, 100);
    throw new InvalidRequestError(
      fieldOf(prefix, [...issue.path, key]),
      `unknown field ${JSON.stringify(key)}; ${issue.message}`,
    );
  }
  const field = fieldOf(prefix, issue?.path ?? []);
  const cause: unknown = issue?.code === 'custom' ? issue.params?.cause : undefined;
  throw new InvalidRequestError(field, `${field}: ${issue?.message ?? 'is not valid'}`, cause);
}

const fieldOf = (prefix: string, path: readonly PropertyKey[]): string =>
  path.reduce<string>(
    (field, key) =>
      typeof key === 'number' ? `${field}[${key}]` : field === '' ? String(key) : `${field}.${String(key)}`,
    prefix,
  );
