import { startDeadline } from '../async/time.ts';
import { BlobUnknownError, BusyError, CacheError } from '../errors/cache-error.ts';
import type { Digest } from '../oci/digest.ts';
import { formatRepository, type Repository } from '../reference/reference.ts';
import { contentKey, type ServeCall, type Serving } from './serving.ts';

/** What a registry said of a blob: its size in bytes, or the error; trusted until `untilMs` (epoch milliseconds). */
export interface SizeAnswer {
  readonly untilMs: number;
  readonly size: number | CacheError;
}

/**
 * The size of a blob that no manifest of the repository names, as its registry declares it. Clients can ask for random digests, so nothing is written: one
 * question for all callers, a few at a time in one process, and the answer stays in memory for a short time; so does an error that no retry can mend.
 *
 * @throws BlobUnknownError if the repository has no such blob; BusyError if too many such questions run; any other error of the registry.
 */
export async function sizeOfBlob(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<number> {
  const key = contentKey(repository, digest);
  const known = state.blobSizes.get(key);
  const size =
    known !== undefined && known.untilMs > Date.now()
      ? known.size
      : await state.share(`size ${key}`, call.signal, (signal) =>
          askSize(state, { ...call, signal }, repository, digest),
        );
  if (size instanceof CacheError) throw size;
  return size;
}

async function askSize(
  state: Serving,
  call: ServeCall,
  repository: Repository,
  digest: Digest,
): Promise<number | CacheError> {
  using _permit = await permitFor(state, call, repository);
  const untilMs = Date.now() + state.patience.sizeMs;
  const subject = { repository, kind: 'blobs', name: digest } as const;
  const size = await state
    .ask(subject, (fetcher) => fetcher.sizeOfBlob(call, repository, digest))
    .catch((error: unknown) => {
      if (!(error instanceof CacheError) || error.retryable) throw error;
      return error instanceof BlobUnknownError ? unknown(repository, digest, error) : error;
    });
  state.blobSizes.set(contentKey(repository, digest), { size, untilMs });
  return size;
}

/** For clients: unlike the registry's own message, it names no host of the configuration. */
const unknown = (repository: Repository, digest: Digest, cause: BlobUnknownError): BlobUnknownError =>
  new BlobUnknownError(
    `no manifest that ${formatRepository(repository)} serves here names blob ${digest}, and its registry has no such blob`,
    cause,
  );

async function permitFor(
  { blobQuestions, patience }: Serving,
  { signal }: ServeCall,
  { registry }: Repository,
): Promise<Disposable> {
  const permits = blobQuestions(registry);
  using soon = startDeadline(patience.permitMs);
  try {
    return await permits.wait(AbortSignal.any([signal, soon.signal]));
  } catch (error) {
    signal.throwIfAborted();
    if (error !== soon.signal.reason) throw error;
    throw new BusyError(
      'find blob',
      `${registry} is already being asked about ${permits.most} blobs that no manifest here names; ask again in a moment`,
    );
  }
}
