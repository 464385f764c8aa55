import { lookup as systemLookup } from 'node:dns';
import type { LookupFunction } from 'node:net';
import { InvalidNameError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { ReferrersIndex } from '../oci/referrers.ts';
import type { Reference, Repository } from '../reference/reference.ts';
import { isAnonymous, type TrustDomain } from '../reference/trust-domain.ts';
import { allowRule, type BlobReading, type RegistrySettings, type UpstreamLimits } from './settings.ts';
import { openBlob } from './blobs.ts';
import { RegistryCredentials } from './credentials.ts';
import { hasBlob, fetchBlobSize } from './has-blob.ts';
import { findRedirect, type RedirectRules } from './find-redirect.ts';
import { fetchTag, fetchManifest, resolveTag } from './manifests.ts';
import { askInOrder } from './retry.ts';
import { Session, type Sources } from './session.ts';
import { listReferrers } from './referrers.ts';
import { listUpstreamTags } from './tags.ts';
import { noRefusals, noRequests, Transport, type RequestContext } from './transport.ts';
import type { BlobBytes, FetchedManifest, Resolution, Upstream, Upstreams } from './upstream.ts';
import { withoutSecrets } from './secrets.ts';

/** Reading credentials may run a helper program or call AWS. It must not outlast the caller's own timeout. */
const CREDENTIALS_TIMEOUT_MS = 20_000;

interface UpstreamsOptions {
  /** By canonical name: `docker.io`. */
  readonly registries: ReadonlyMap<string, RegistrySettings>;
  readonly limits: UpstreamLimits;
  /** Docker's `config.json`, for registries with `credentials: docker`; absent where there is none. */
  readonly dockerConfigPath?: string;
  /** Resolves host names. Default: the system's. */
  readonly lookup?: LookupFunction;
}

/** Shared by all pulls from one registry in this process: connections, tokens, credentials. */
interface Registry {
  readonly settings: RegistrySettings;
  readonly credentials: RegistryCredentials;
  readonly transport: Transport;
  readonly sources: Sources;
  readonly passing: RedirectRules;
}

/** The configured registries over HTTP. Connects only when used. */
export function createUpstreams(options: UpstreamsOptions): Upstreams {
  const opened = new Map<string, Registry>();
  const settingsOf = allowRule(options.registries);
  const registryOf = (settings: RegistrySettings): Registry => {
    const registry = opened.get(settings.name) ?? createRegistry(settings, options);
    opened.set(settings.name, registry);
    return registry;
  };
  return {
    open: async (repository, signal) => {
      const registry = registryOf(settingsOf(repository));
      const domain = await domainOf(registry, repository.path, signal);
      return withoutSecrets(new HttpUpstream(repository, domain, registry), registry.transport.secrets);
    },
    close: async () => {
      const registries = [...opened.values()];
      opened.clear();
      await Promise.all(registries.map(({ transport }) => transport.close()));
    },
  };
}

async function domainOf(
  { credentials, settings }: Registry,
  path: string,
  signal: AbortSignal | undefined,
): Promise<TrustDomain> {
  const timeout = AbortSignal.timeout(CREDENTIALS_TIMEOUT_MS);
  try {
    return await credentials.domain(path, signal === undefined ? timeout : AbortSignal.any([signal, timeout]));
  } catch (error) {
    signal?.throwIfAborted();
    if (error !== timeout.reason) throw error;
    throw new UpstreamUnavailableError(
      'read credentials',
      `the credentials of ${settings.name} could not be read within ${CREDENTIALS_TIMEOUT_MS} ms; check its "credentials"`,
      { cause: error, timedOut: true },
    );
  }
}

function createRegistry(settings: RegistrySettings, options: UpstreamsOptions): Registry {
  const { limits } = options;
  const transport = new Transport(settings, limits, options.lookup);
  const credentials = new RegistryCredentials(settings, options.dockerConfigPath, transport.secrets);
  return {
    settings,
    credentials,
    transport,
    sources: {
      mirrors: settings.mirrors.map((base) => new Session({ settings, limits, transport, base })),
      endpoint: new Session({ settings, limits, transport, base: settings.endpoint, credentials }),
    },
    passing: { passRedirects: settings.passRedirects, lookup: options.lookup ?? systemLookup },
  };
}

/** Keeps one trust domain for life: once the credentials belong to another identity, its requests fail (I9). */
class HttpUpstream implements Upstream {
  readonly repository: Repository;
  readonly domain: TrustDomain;
  readonly requests = noRequests();
  readonly refusals = noRefusals();
  readonly #sources: Sources;
  readonly #passing: RedirectRules;

  constructor(
    repository: Repository,
    domain: TrustDomain,
    { sources, passing }: Pick<Registry, 'sources' | 'passing'>,
  ) {
    this.repository = repository;
    this.domain = domain;
    // A mirror never sees the credentials, so its content does not prove that they may read it (I9).
    this.#sources = isAnonymous(domain) ? sources : { ...sources, mirrors: [] };
    this.#passing = passing;
  }

  async resolve(reference: Reference, signal: AbortSignal, byBytes = false): Promise<Resolution> {
    const { tag, digest } = reference;
    if (digest !== undefined) return { digest, checkedMs: Date.now() };
    if (tag === undefined) throw new InvalidNameError(`a reference to ${this.repository.path} needs a tag or a digest`);
    const { path } = this.repository;
    const ask = byBytes ? fetchTag : resolveTag;
    return await askInOrder(this.#sources, signal, (session) => ask(session, path, tag, this.#context(signal)));
  }

  async listTags(signal: AbortSignal): Promise<readonly string[]> {
    return await listUpstreamTags(this.#sources.endpoint, this.repository.path, this.#context(signal));
  }

  async listReferrers(subject: Digest, signal: AbortSignal): Promise<ReferrersIndex> {
    return await listReferrers(this.#sources.endpoint, this.repository.path, subject, this.#context(signal));
  }

  async readManifest(digest: Digest, signal: AbortSignal): Promise<FetchedManifest> {
    const { path } = this.repository;
    return await askInOrder(this.#sources, signal, (session) =>
      fetchManifest(session, path, digest, this.#context(signal)),
    );
  }

  /** Asks the registry itself, never a mirror: only it knows what its repository holds (I9). */
  async hasBlob(blob: Descriptor, signal: AbortSignal): Promise<boolean> {
    return await hasBlob(this.#sources.endpoint, this.repository.path, blob, this.#context(signal));
  }

  async sizeOfBlob(digest: Digest, signal: AbortSignal): Promise<number> {
    const { path } = this.repository;
    return await askInOrder(this.#sources, signal, (session) =>
      fetchBlobSize(session, path, digest, this.#context(signal)),
    );
  }

  async openBlob(blob: Descriptor, offset: number, signal: AbortSignal, reading?: BlobReading): Promise<BlobBytes> {
    return await openBlob(this.#sources, this.repository.path, blob, offset, this.#context(signal), reading);
  }

  async findRedirect(digest: Digest, signal: AbortSignal): Promise<URL | undefined> {
    const { path } = this.repository;
    return await findRedirect(this.#sources.endpoint, path, digest, this.#passing, this.#context(signal));
  }

  #context(signal: AbortSignal): RequestContext {
    return { counts: this.requests, refusals: this.refusals, domain: this.domain, signal };
  }
}
