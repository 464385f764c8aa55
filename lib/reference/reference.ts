import { InvalidNameError } from '../errors/cache-error.ts';
import { parseDigest, type Digest } from '../oci/digest.ts';

/** A repository of one registry, by its canonical name: `docker.io` + `library/alpine`. */
export interface Repository {
  /** Host with optional port, lower case: `docker.io`, `registry.example.test:5000`, `[::1]:5000`. A key of the configuration, never an address to dial. */
  readonly registry: string;
  /** Path: `library/alpine`. */
  readonly path: string;
}

/** A normalised reference: always has a tag or a digest. A digest wins; `tag` is then only for display. */
export interface Reference {
  readonly repository: Repository;
  readonly tag?: string;
  readonly digest?: Digest;
}

/*
 * The grammar of distribution/reference (https://github.com/distribution/reference/blob/main/regexp.go):
 *
 *   reference     = name [ ":" tag ] [ "@" digest ]
 *   name          = [ domain "/" ] component *( "/" component )
 *   domain        = host [ ":" port ]
 *   host          = domain-name | IPv4 | "[" IPv6 "]"
 *   component     = alphanumeric *( separator alphanumeric )
 *   separator     = "." | "_" | "__" | *"-"
 *   tag           = /[\w][\w.-]{0,127}/
 */
const LABEL = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const DOMAIN = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`);
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
const MAX_NAME_CHARACTERS = 255;
const MAX_REFERENCE_CHARACTERS = 1024;

const quote = (text: string): string => JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);

/**
 * The reference in `text`, normalised as Docker does: `alpine` is `docker.io/library/alpine:latest`.
 *
 * A first part without `.` or `:` that is not `localhost` belongs to `docker.io`; `index.docker.io` and `registry-1.docker.io` are `docker.io`.
 *
 * @throws InvalidNameError, InvalidDigestError saying what is wrong and what to write instead.
 */
export function parseReference(text: string): Reference {
  if (text === '')
    throw new InvalidNameError('the reference is empty; write for example docker.io/library/alpine:3.20');
  if (text.length > MAX_REFERENCE_CHARACTERS) {
    throw new InvalidNameError(
      `the reference is ${text.length} characters long, at most ${MAX_REFERENCE_CHARACTERS} are allowed`,
    );
  }
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) {
    throw new InvalidNameError(
      `reference ${quote(text)}: leave out the scheme; write registry.example.test/team/app:tag`,
    );
  }
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : parseDigest(text.slice(at + 1));
  const named = at < 0 ? text : text.slice(0, at);

  const colon = named.lastIndexOf(':');
  const hasTag = colon > named.lastIndexOf('/') && !named.endsWith(']');
  const name = hasTag ? named.slice(0, colon) : named;
  const tag = hasTag ? parseTag(named.slice(colon + 1)) : undefined;

  const repository = parseName(name, text);
  if (digest !== undefined) return tag === undefined ? { repository, digest } : { repository, tag, digest };
  return { repository, tag: tag ?? 'latest' };
}

/** Whether it is a valid tag. */
export const isTag = (text: unknown): text is string => typeof text === 'string' && TAG.test(text);

/** @throws InvalidNameError */
export function parseTag(text: string): string {
  if (TAG.test(text)) return text;
  throw new InvalidNameError(
    `tag ${quote(text)}: a tag is 1 to 128 letters, digits, "_", "." or "-", and starts with a letter, digit or "_"`,
  );
}

function parseName(name: string, whole: string): Repository {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const isDomain = /[.:[\]]/.test(first) || first.toLowerCase() === 'localhost';
  const registry = isDomain ? parseRegistry(first) : 'docker.io';
  const rest = isDomain ? name.slice(slash + 1) : name;
  const path = registry === 'docker.io' && !rest.includes('/') ? `library/${rest}` : rest;
  if (isDomain && slash === name.length - 1)
    throw new InvalidNameError(`reference ${quote(whole)}: the repository is missing after ${quote(first)}`);
  checkPath(rest, whole);
  if (registry.length + 1 + path.length > MAX_NAME_CHARACTERS) {
    throw new InvalidNameError(
      `the name ${quote(`${registry}/${path}`)} is longer than ${MAX_NAME_CHARACTERS} characters`,
    );
  }
  return { registry, path };
}

/**
 * The canonical name of a registry: lower case, Docker Hub's several hosts as `docker.io`.
 *
 * @throws InvalidNameError
 */
export function parseRegistry(text: string): string {
  if (!DOMAIN.test(text)) {
    throw new InvalidNameError(
      `registry ${quote(text)}: write a host name, IPv4 address or [IPv6 address], with an optional :port`,
    );
  }
  const port = /:(\d+)$/.exec(text.replace(/^\[.*\]/, ''))?.[1];
  if (port !== undefined && Number(port) > 65535)
    throw new InvalidNameError(`registry ${quote(text)}: port ${port} is above 65535`);
  const registry = text.toLowerCase();
  return registry === 'index.docker.io' || registry === 'registry-1.docker.io' ? 'docker.io' : registry;
}

/**
 * The registry as one part of a repository path: its name with `_` before the port, because a path cannot have a `:`. Unambiguous,
 * because no registry has a `_` in its name. Undefined for an IPv6 address.
 */
export function pathPartOf(registry: string): string | undefined {
  const part = registry.replace(/:(\d+)$/, '_$1');
  return COMPONENT.test(part) ? part : undefined;
}

/** A configured registry and its other name. */
export interface KnownRegistry {
  readonly name: string;
  readonly alias?: string;
}

/** The configured registries by canonical name. */
export type KnownRegistries = ReadonlyMap<string, KnownRegistry>;

/** The configured registry with this alias or {@link pathPartOf}. */
export function registryOfPart(part: string, registries: KnownRegistries): string | undefined {
  for (const { name, alias } of registries.values()) if (alias === part) return name;
  for (const { name } of registries.values()) if (pathPartOf(name) === part) return name;
  return undefined;
}

/**
 * Like {@link parseReference}, but the registry may also be named as in paths of the registry endpoint: by alias, or with `_`
 * before the port.
 *
 * @throws InvalidNameError, InvalidDigestError
 */
export function parseKnownReference(text: string, registries: KnownRegistries): Reference {
  const slash = text.indexOf('/');
  const registry = slash < 1 ? undefined : registryOfPart(text.slice(0, slash), registries);
  return parseReference(registry === undefined ? text : `${registry}${text.slice(slash)}`);
}

function checkPath(path: string, whole: string): void {
  for (const component of path.split('/')) {
    if (COMPONENT.test(component)) continue;
    const why =
      component === ''
        ? 'a part of the name is empty'
        : component === '.' || component === '..'
          ? `${quote(component)} is not a name; paths are not resolved`
          : component !== component.toLowerCase()
            ? `${quote(component)} has upper-case letters; repository names are lower case`
            : `${quote(component)} is not a name: lower-case letters and digits, separated by ".", "_", "__" or "-"`;
    throw new InvalidNameError(`reference ${quote(whole)}: ${why}`);
  }
}

/** `docker.io/library/alpine`. */
export function formatRepository(repository: Repository): string {
  return `${repository.registry}/${repository.path}`;
}

/** `docker.io/library/alpine:3.20`, `…@sha256:…`, or both. `parseReference` of it gives the same reference. */
export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`;
  return `${formatRepository(reference.repository)}${tag}${digest}`;
}

/**
 * The pointer of the reference within its repository: the tag, or `@` and the digest if there is one. Names the lock of a pull and
 * the row of the pointer.
 */
export function pointerOf(reference: Reference): string {
  return reference.digest === undefined ? (reference.tag ?? 'latest') : `@${reference.digest}`;
}
