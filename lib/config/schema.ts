import ipaddr from 'ipaddr.js';
import picomatch from 'picomatch';
import * as z from 'zod';
import { parsePlatform } from '../oci/platform.ts';
import type { CredentialSource } from '../registry/settings.ts';
import { parseRegistry } from '../reference/reference.ts';
import { LIMITS, type LimitName } from './defaults.ts';

/*
 * The shape of the file. Values are never shown where they could hold a secret: whoever writes a password into the wrong
 * place must not find it in a log (I7).
 */

const kindOf = (input: unknown): string => {
  if (input === undefined || input === null) return 'nothing';
  if (Array.isArray(input)) return 'a list';
  if (typeof input === 'object') return 'a map';
  // JSON has no infinity; YAML has.
  if (typeof input === 'number') return String(input);
  return typeof input === 'boolean' ? String(input) : 'text';
};

const expected = (what: string) => ({
  error: (issue: { input?: unknown }): string => `expected ${what}, found ${kindOf(issue.input)}`,
});

/** The messages of a map: one that is none, and an unknown key, to which {@link issuesOf} adds the known ones. */
const strictMap = {
  error: (issue: { code?: string | undefined; input?: unknown }): string =>
    issue.code === 'unrecognized_keys' ? 'unknown key' : `expected a map, found ${kindOf(issue.input)}`,
};

const text = (what: string, maxLength = 1024) =>
  z
    .string(expected(what))
    .min(1, `is empty; write ${what}`)
    .max(maxLength, `is longer than ${maxLength} characters; write ${what}`);

/** A value that `parse` understands; what it throws is the problem. */
const parsed = <T>(what: string, parse: (value: string) => T) =>
  text(what).transform((value, context): T => {
    try {
      return parse(value);
    } catch (error) {
      context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) });
      return z.NEVER;
    }
  });

/** Scheme, host and port alone. */
function parseOrigin(value: string): URL {
  if (!URL.canParse(value)) throw new Error('is not a URL; write https://host[:port]');
  const url = new URL(value);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw new Error(`the scheme ${JSON.stringify(url.protocol.slice(0, 20))} is not known; write https://host[:port]`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new Error(
      'holds a user name or password; take it out of the URL and say where the credentials are with "credentials" (docker, ecr or {secret: <Secrets Manager id>})',
    );
  }
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    throw new Error(
      'has a path or query; write the scheme, host and port alone, for example https://registry.example.test',
    );
  }
  return url;
}

function parseProxy(value: string): URL {
  if (URL.canParse(value) && new URL(value).username !== '') {
    throw new Error(
      'holds a user name or password; proxies with a password are not supported, use one that admits by address',
    );
  }
  return parseOrigin(value);
}

/** `parseRegistry` knows hosts and ports; its error speaks of registries, and Docker Hub's hosts must stay what they are here. */
function parseHost(value: string): string {
  try {
    parseRegistry(value);
  } catch (cause) {
    throw new Error(
      `${JSON.stringify(value)} is not a host or a range; write host, host:port, IPv4, [IPv6] or a CIDR range such as 10.0.0.0/8`,
      { cause },
    );
  }
  return value.toLowerCase();
}

/** An entry of `realms` or `redirects`. Kept as text: lib/registry compares hosts. */
function parseHostRule(value: string): string {
  if (ipaddr.isValidCIDR(value)) return value;
  return value.includes('://') ? parseOrigin(value).origin : parseHost(value);
}

function parsePattern(value: string): string {
  if (/^\/|\/$|\/\/|:|@/.test(value)) {
    throw new Error(
      `${JSON.stringify(value)} is not a repository pattern; write it without registry, tag and outer slashes, for example team/**`,
    );
  }
  try {
    picomatch.makeRe(value, { strictBrackets: true });
  } catch (cause) {
    throw new Error(`${JSON.stringify(value)} is not a glob pattern; write for example team/** or team/app`, { cause });
  }
  return value;
}

function parseAlias(value: string): string {
  if (!/^[a-z0-9]+(?:[._-][a-z0-9]+)*$/.test(value) || value === 'library') {
    throw new Error(
      `${JSON.stringify(value)} cannot be an alias; write one path part of lower-case letters, digits, ".", "_" and "-", other than "library"`,
    );
  }
  return value;
}

const CREDENTIALS =
  'docker, none, ecr, {secret: <Secrets Manager id>} or {ecr: {roleArn: arn:aws:iam::<account>:role/<name>, externalId: …}}';
const EXTERNAL_ID = 'write the external id of the role, 2 to 1224 characters';

/** One message for all: zod cannot know which of the forms was meant. */
const orOtherCredentials = {
  error: (issue: { code?: string | undefined }): string =>
    `${issue.code === 'unrecognized_keys' ? 'unknown key; ' : ''}write ${CREDENTIALS}`,
};

const credentials = z
  .union(
    [
      z.enum(['docker', 'none', 'ecr']),
      z.strictObject({ secret: text('the name or ARN of a secret in Secrets Manager', 2048) }, orOtherCredentials),
      z.strictObject(
        {
          ecr: z.strictObject(
            {
              roleArn: z.string(orOtherCredentials).regex(/^arn:aws[\w-]*:iam::\d{12}:role\/[\w+=,.@/-]{1,512}$/, {
                error: 'write arn:aws:iam::<account>:role/<name>',
              }),
              // The bounds of STS: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
              externalId: z.string(orOtherCredentials).min(2, EXTERNAL_ID).max(1224, EXTERNAL_ID).optional(),
            },
            orOtherCredentials,
          ),
        },
        orOtherCredentials,
      ),
    ],
    orOtherCredentials,
  )
  .transform((value): CredentialSource => {
    if (typeof value === 'string') return { kind: value };
    if ('secret' in value) return { kind: 'secret', secretId: value.secret };
    const { roleArn, externalId } = value.ecr;
    return { kind: 'ecr', roleArn, ...(externalId === undefined ? {} : { externalId }) };
  });

const list = <T extends z.ZodType>(item: T, example: string) =>
  z.array(item, expected(`a list, for example ${example}`)).max(1000, 'has more than 1000 entries');

const origin = parsed('a URL such as https://host[:port]', parseOrigin);

const hostRule = parsed('a host, an origin or a CIDR range', parseHostRule);

/** One entry of `registries`. */
export const registrySchema = z.strictObject(
  {
    endpoint: origin.optional(),
    mirrors: list(origin, '["https://mirror.example.test"]').optional(),
    credentials: credentials.optional(),
    realms: list(hostRule, '[auth.example.test]').optional(),
    redirects: list(hostRule, '[storage.internal, 10.0.0.0/8]').optional(),
    allow: list(parsed('a repository pattern', parsePattern), '["team/**"]').optional(),
    platforms: list(
      parsed('a platform such as linux/amd64', (value) => parsePlatform(value)),
      '[linux/amd64]',
    ).optional(),
    alias: parsed('a short name', parseAlias).optional(),
    ca: text('the path of a PEM file').optional(),
    proxy: parsed('a URL such as http://proxy:3128', parseProxy).optional(),
    maxConnections: z
      .int(expected('a whole number from 1 to 256'))
      .min(1, 'must be 1 or more')
      .max(256, 'must be 256 or less')
      .optional(),
  },
  strictMap,
);
export type RegistryEntry = z.output<typeof registrySchema>;

const limit = (name: LimitName) => {
  const { min, max, default: usual } = LIMITS[name];
  const what = `a whole number from ${min} to ${max} (without the key: ${usual})`;
  const outOfRange = {
    error: (issue: { input?: unknown }): string => `${kindOf(issue.input)} is out of range; write ${what}`,
  };
  return z.int(expected(what)).min(min, outOfRange).max(max, outOfRange).default(usual);
};

/** `limits`, with the defaults filled in. */
export const limitsSchema = z.strictObject(
  Object.fromEntries((Object.keys(LIMITS) as LimitName[]).map((name) => [name, limit(name)])) as Record<
    LimitName,
    ReturnType<typeof limit>
  >,
  strictMap,
);

/** The file. Its registries are checked one by one, so that each is named for itself. */
export const fileSchema = z.strictObject(
  {
    registries: z
      .record(z.string(), z.unknown(), expected('a map of registries, for example {docker.io: {}}'))
      .nullish(),
    limits: z.unknown().optional(),
  },
  strictMap,
);

/** What is wrong, one problem for each unknown key, with the keys that are known at the top. */
export function issuesOf(error: z.ZodError, knownKeys: readonly string[]): { path: PropertyKey[]; message: string }[] {
  return error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({
          path: [...issue.path, key],
          message:
            issue.path.length > 0 ? issue.message : `${issue.message}; the known ones are ${knownKeys.join(', ')}`,
        }))
      : [{ path: issue.path, message: issue.message }],
  );
}
