import * as z from 'zod/mini';
import { ERROR_CODES } from '../../errors/cache-error.ts';
import type { CachedImage } from '../../images/images.ts';
import type { PullState } from '../../jobs/pull-record.ts';
import type { Digest } from '../../oci/digest.ts';
import type { BlobTally, Receipt } from '../../pull/receipt.ts';
import type { Validation } from '../../repair/validate.ts';
import type { Operation } from './routes.ts';

/*
 * What the API answers, as schemas: for docs/openapi.json and for tests, never loaded by a function. They are the types of the documents, too; one whose type the
 * domain has is bound to it in both directions, so that neither can say what the other does not.
 */

/** The type of what a schema describes. */
export type DocumentOf<S extends z.ZodMiniType> = Fixed<z.output<S>>;
type Fixed<T> = T extends readonly (infer One)[]
  ? readonly Fixed<One>[]
  : T extends object
    ? { readonly [K in keyof T]: Fixed<T[K]> }
    : T;

/** As JSON has it: a digest is text, and nothing is read-only. */
type Plain<T> = T extends Digest
  ? string
  : T extends readonly (infer One)[]
    ? Plain<One>[]
    : T extends object
      ? { -readonly [K in keyof T]: Plain<T[K]> }
      : T;

/** `schema`, if what it describes is a `T` and the other way round. */
const documentOf =
  <T>() =>
  <S extends z.ZodMiniType<Plain<T>>>(
    schema: S,
    ..._exact: Plain<T> extends z.output<S> ? [] : [problem: 'the type has what the schema lacks']
  ): S =>
    schema;

const described = <S extends z.ZodMiniType>(schema: S, description: string): S => schema.check(z.describe(description));

const digest = described(
  z.string().check(z.regex(/^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/)),
  '`sha256:` and 64 hex digits, or `sha512:` and 128.',
);
const time = described(z.string(), 'ISO 8601, UTC.').check(z.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/));
const count = z.int().check(z.gte(0));
const code = z.enum(ERROR_CODES);

const tally = documentOf<BlobTally>()(
  described(
    z.strictObject({ total: count, present: count, copied: count, copiedElsewhere: count }),
    'Over distinct configs and layers: in the cache already, copied by this pull, copied by another meanwhile.',
  ),
);

const platform = documentOf<Receipt['platforms'][number]>()(
  z.strictObject({
    platform: described(z.string(), '`linux/amd64`; `unknown` for content without a platform.'),
    digest,
    complete: described(z.boolean(), 'Whether all its content is in the cache, and may be served for this repository.'),
  }),
);

/** What a pull did. */
export const receiptSchema = documentOf<Receipt>()(
  z.strictObject({
    reference: described(z.string(), 'Normalised.'),
    digest: z.nullable(digest),
    mediaType: z.nullable(z.string()),
    outcome: described(
      z.enum(['hit', 'pulled', 'partial']),
      '`hit`: nothing copied, no pointer moved. `pulled`: something copied or a pointer moved. `partial`: stopped by a deadline; what finished is kept.',
    ),
    platforms: z.array(platform),
    blobs: tally,
    bytes: tally,
    registryRequests: described(
      z.strictObject({
        total: count,
        ping: count,
        token: count,
        manifest: count,
        blob: count,
        redirected: count,
      }),
      'Requests that this pull sent to the registry.',
    ),
    skipped: described(
      z.array(z.strictObject({ digest, mediaType: z.string(), size: count, reason: z.string() })),
      'What belongs to the image and its registry does not have: foreign layers, attestations and, where platforms were asked for, manifests without one. The image is complete without it.',
    ),
    durationMs: count,
    recordError: z.exactOptional(
      described(
        z.string(),
        'Only where what is published could not be written down under `refs/` of the bucket: why. It is served all the same; the next pull that takes the lock writes it.',
      ),
    ),
  }),
);

const problemFields = {
  type: z.literal('about:blank'),
  title: described(z.string(), 'The phrase of the status.'),
  status: z.int().check(z.gte(400), z.lte(599)),
  detail: z.exactOptional(described(z.string(), 'What was asked, what was found, what to do.')),
  code: z.exactOptional(described(code, 'A code of the OCI distribution specification, where one fits.')),
  field: z.exactOptional(described(z.string(), 'The field of the request that is wrong: `platforms[1]`.')),
  instance: z.exactOptional(described(z.string(), 'The path of the pull that failed.')),
  retryable: described(z.boolean(), 'Whether the same request may succeed later.'),
};

/** https://www.rfc-editor.org/rfc/rfc9457 */
export const problemSchema = z.strictObject({
  ...problemFields,
  requestId: described(z.string(), 'As in `x-request-id` and in the log.'),
});

export const progressCount = z.strictObject({ total: count, missing: count, done: count });

/** One pull of the workflow. */
export const pullSchema = z.strictObject({
  id: described(z.string(), 'A UUID; also the name of the execution.'),
  state: z.enum(['queued', 'running', 'succeeded', 'failed'] satisfies PullState[]),
  reference: z.string(),
  platforms: z.array(z.string()),
  alwaysPull: z.boolean(),
  attestations: z.boolean(),
  progress: described(
    z.nullable(
      z.strictObject({
        blobs: progressCount,
        bytes: progressCount,
        bytesPerSecond: z.nullable(count),
        etaSeconds: z.nullable(count),
      }),
    ),
    'Null before it was planned.',
  ),
  receipt: described(z.nullable(receiptSchema), 'Once it has succeeded.'),
  error: described(z.nullable(z.strictObject(problemFields)), 'Once it has failed: problem details.'),
  createdAt: time,
  startedAt: z.nullable(time),
  updatedAt: time,
  endedAt: z.nullable(time),
});

/** What the cache holds under one reference. */
export const imageSchema = documentOf<CachedImage>()(
  z.strictObject({
    reference: z.string(),
    digest: described(digest, 'What is published under the reference.'),
    mediaType: z.nullable(z.string()),
    platforms: z.array(platform),
    size: described(z.nullable(count), 'Bytes of the distinct manifests and blobs that are complete.'),
    resolved: described(z.nullable(digest), 'What the registry said last that the reference means.'),
    previous: described(z.nullable(digest), 'What was published before.'),
    checkedAt: described(z.nullable(time), 'When the registry was last asked.'),
    publishedAt: z.nullable(time),
  }),
);

export const imagesSchema = z.strictObject({
  images: z.array(imageSchema),
  next: described(
    z.nullable(z.string()),
    "The query's `next` for the following page; null at the end. A page may be short and not be the last.",
  ),
});

export const validationSchema = documentOf<Validation>()(
  z.strictObject({
    reference: z.string(),
    digest: z.nullable(digest),
    state: described(
      z.enum(['complete', 'incomplete', 'unknown']),
      '`unknown`: nothing was ever published under this name for this repository.',
    ),
    platforms: z.array(platform),
    missing: z.array(z.strictObject({ digest, size: z.nullable(count), reason: z.string() })),
  }),
);

/** Where the deployment keeps things. */
export const deploymentSchema = z.strictObject({
  version: z.string(),
  region: described(z.nullable(z.string()), 'Of AWS.'),
  stage: z.nullable(z.string()),
  bucket: z.string(),
  table: z.string(),
  stateMachine: described(z.nullable(z.string()), 'ARN of the workflow.'),
  bus: described(z.nullable(z.string()), 'Name of the event bus.'),
  serve: described(
    z.strictObject({
      front: described(z.enum(['httpApi', 'alb']), 'The AWS service in front of it.'),
      auth: described(z.enum(['none', 'basic']), 'Whether clients must log in to pull.'),
      blobEndpoint: described(
        z.nullable(z.string()),
        "Where clients are sent for blobs. Null where that is S3's own address of the bucket.",
      ),
    }),
    'The registry endpoint.',
  ),
  caller: described(z.string(), 'Who asks, as access rules see it: an ARN, or the subject of a token.'),
});

/** What a client logs in to the registry endpoint with. */
export const tokenSchema = z.strictObject({
  username: described(z.string(), 'Always `token`.'),
  password: described(z.string(), 'A secret, until it expires. Opaque.'),
  expiresAt: time,
});

/** The document of each answer that is not a problem, by operation and status; `undefined` where there is none. */
export const ANSWERS = {
  pull: { 200: receiptSchema, 202: pullSchema },
  findPull: { 200: pullSchema },
  listImages: { 200: z.union([imagesSchema, imageSchema]) },
  removeTag: { 204: undefined },
  validate: { 200: validationSchema },
  token: { 200: tokenSchema },
  deployment: { 200: deploymentSchema },
} as const satisfies Record<Operation, Readonly<Record<number, z.ZodMiniType | undefined>>>;
