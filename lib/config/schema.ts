import ipaddr from 'ipaddr.js';
import * as z from 'zod';
import { parsePlatform } from '../oci/platform.ts';
import type { CredentialSource } from '../registry/settings.ts';
import { parseRegistry } from '../reference/reference.ts';
import { LIMITS, type LimitName } from './defaults.ts';
import { checkGlob, expected, list, parsed, strictMap, text, wholeNumber } from './schema-parts.ts';

/** Scheme, host and port alone. */
export function parseOrigin(value: string): URL {
  const url = parseUrl(value);
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    throw new Error(
      'has a path or query; write the scheme, host and port alone, for example https://registry.example.test',
    );
  }
  return url;
}

/** An origin, optionally with a path. */
function parseMirror(value: string): URL {
  const url = parseUrl(value);
  if (url.search === '' && url.hash === '') return url;
  throw new Error(
    'has a query; write scheme, host, port and path alone, for example https://mirror.example.test/docker',
  );
}

function parseUrl(value: string): URL {
  if (!URL.canParse(value)) throw new Error('is not a URL; write https://host[:port]');
  const url = new URL(value);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw new Error(`the scheme ${JSON.stringify(url.protocol.slice(0, 20))} is not known; write https://host[:port]`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new Error(
      'holds a user name or password; take it out of the URL and configure "credentials" instead (docker, ecr or {secret: <Secrets Manager id>})',
    );
  }
  return url;
}

function parseProxy(value: string): URL {
  if (URL.canParse(value) && new URL(value).username !== '') {
    throw new Error(
      'holds a user name or password; proxies with a password are not supported, use one that allows clients by address',
    );
  }
  return parseOrigin(value);
}

/** Checks with `parseRegistry`, but keeps the hosts of Docker Hub as they are. */
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

/** An entry of `realms` or `redirects`, as text: lib/registry compares hosts. */
function parseHostRule(value: string): string {
  if (ipaddr.isValidCIDR(value)) return value;
  return value.includes('://') ? parseOrigin(value).origin : parseHost(value);
}

const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
/** Not an IP address: the last label begins with a letter. A star matches one label, and at least two follow it. */
const PASSED_HOST = new RegExp(`^(?:\\*\\.)?(?:${LABEL}\\.)+(?=[a-z])${LABEL}$`);

function parsePassedHost(value: string): string {
  const host = value.toLowerCase();
  if (host.length <= 253 && PASSED_HOST.test(host)) return host;
  throw new Error(
    'is not a host name for redirects; write the name alone, for example cdn.example.test, or *.cdn.example.test if its first part varies',
  );
}

const OWN_HOST = new RegExp(`^(?:${LABEL}\\.)*(?=[a-z])${LABEL}$`);

/** A host name of the cache itself, without a port: clients use the same login for all ports. */
export function parseOwnHost(value: string): string {
  const host = value.toLowerCase();
  if (host.length <= 253 && OWN_HOST.test(host)) return host;
  throw new Error('is not a host name; write the name alone, without scheme and port, for example cache.example.test');
}

/** A glob over repositories of one registry. */
export function parsePattern(value: string): string {
  checkGlob(value, 'team/** or team/app');
  if (/^\/|\/$|\/\/|:/.test(value)) {
    throw new Error(
      `${JSON.stringify(value)} is not a repository pattern; write it without registry, tag and outer slashes, for example team/**`,
    );
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

/** The same message for all forms: zod cannot know which one was meant. */
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

const origin = parsed('a URL such as https://host[:port]', parseOrigin);

const mirror = parsed('a URL such as https://host[:port]/path', parseMirror);

/** `mirrors` of the file. A mirror without `registries` is for all. */
export const mirrorsSchema = list(
  z.strictObject(
    {
      endpoint: mirror,
      registries: list(text('the name of a registry'), '[docker.io]')
        .min(1, 'is empty; leave it out for all')
        .optional(),
    },
    strictMap,
  ),
  '[{ endpoint: "https://mirror.example.test" }]',
);

const hostRule = parsed('a host, an origin or a CIDR range', parseHostRule);

/** One entry of `registries`. */
export const registrySchema = z.strictObject(
  {
    endpoint: origin.optional(),
    mirrors: list(mirror, '["https://mirror.example.test"]').optional(),
    public: z.boolean(expected('true or false')).optional(),
    credentials: credentials.optional(),
    realms: list(hostRule, '[auth.example.test]').optional(),
    redirects: list(hostRule, '[storage.internal, 10.0.0.0/8]').optional(),
    passRedirects: list(parsed('a host', parsePassedHost), '[cdn.example.test, "*.cdn.example.test"]').optional(),
    allow: list(parsed('a repository pattern', parsePattern), '["team/**"]').optional(),
    platforms: list(
      parsed('a platform such as linux/amd64', (value) => parsePlatform(value)),
      '[linux/amd64]',
    ).optional(),
    alias: parsed('a short name', parseAlias).optional(),
    ca: text('the path of a PEM file').optional(),
    proxy: parsed('a URL such as http://proxy:3128', parseProxy).optional(),
    /** Docker Hub alone, on AWS. */
    anonymous: z.literal('accepted', { error: 'write accepted, or leave it out' }).optional(),
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
  return wholeNumber(min, max, ` (default: ${usual})`).default(usual);
};

/** `limits`, with the defaults filled in. */
export const limitsSchema = z.strictObject(
  Object.fromEntries((Object.keys(LIMITS) as LimitName[]).map((name) => [name, limit(name)])) as Record<
    LimitName,
    ReturnType<typeof limit>
  >,
  strictMap,
);

/** The file. Its registries are checked one by one, each with its own problems. */
export const fileSchema = z.strictObject(
  {
    registries: z
      .record(z.string(), z.unknown(), expected('a map of registries, for example {docker.io: {}}'))
      .nullish(),
    mirrors: z.unknown().optional(),
    limits: z.unknown().optional(),
    access: z.unknown().optional(),
    warmups: z.unknown().optional(),
    events: z.unknown().optional(),
    serve: z.unknown().optional(),
  },
  strictMap,
);
