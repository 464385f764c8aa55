import * as z from 'zod';
import { CacheError, InvalidRequestError } from '../errors/cache-error.ts';
import { parsePlatform } from '../oci/platform.ts';
import { parseReference } from '../reference/reference.ts';
import type { PullRequest } from '../pull/pull-request.ts';

const MAX_IMAGES = 100;
const MAX_PLATFORMS = 50;
const MAX_CHARACTERS = 1024;

/** What one event asks for. `one`: the answer is a receipt; `list`: a list of receipts. */
export type PullInput =
  | { readonly kind: 'one'; readonly request: PullRequest }
  | { readonly kind: 'list'; readonly requests: readonly PullRequest[] };

const text = z
  .string('must be a string')
  .min(1, 'is empty')
  .max(MAX_CHARACTERS, `is longer than ${MAX_CHARACTERS} characters`);

/** Text that `parse` understands. What it throws becomes the issue, and keeps its code. */
const parsed = <T>(parse: (value: string) => T) =>
  text.transform((value, context): T => {
    try {
      return parse(value);
    } catch (error) {
      if (!(error instanceof CacheError)) throw error;
      context.addIssue({ code: 'custom', message: error.message, params: { cause: error } });
      return z.NEVER;
    }
  });

/** What an object is, for one that is none and after a field that it cannot have. */
const objectLike = (what: string, example: string) => ({
  error: (issue: { code?: string | undefined }): string =>
    issue.code === 'unrecognized_keys' ? what : `must be an object such as ${example}`,
});

const image = z.strictObject(
  {
    reference: parsed(parseReference),
    platforms: z
      .array(
        parsed((value) => parsePlatform(value)),
        'must be a list such as ["linux/amd64"]',
      )
      .max(MAX_PLATFORMS, `has more than ${MAX_PLATFORMS} entries`)
      .default([]),
    alwaysPull: z.boolean('must be true or false').default(false),
    attestations: z.boolean('must be true or false').default(true),
  },
  objectLike('an image has "reference", "platforms", "alwaysPull" and "attestations"', '{"reference": "alpine"}'),
);

const images = z.strictObject(
  {
    images: z
      .array(image, 'must be a list such as [{"reference": "alpine"}]')
      .min(1, 'names no image')
      .max(MAX_IMAGES, `has more than ${MAX_IMAGES} entries`),
  },
  objectLike('a list of images has "images" alone', '{"images": [{"reference": "alpine"}]}'),
);

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
  if ('reference' in document) return { kind: 'one', request: checked(image, document, prefix) };
  throw new InvalidRequestError(
    fieldOf(prefix, ['reference']),
    'there is neither "reference" nor "images"; send {"reference": "…"} or {"images": [{"reference": "…"}]}',
  );
}

function checked<T extends z.ZodType>(schema: T, document: unknown, prefix: string): z.output<T> {
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
