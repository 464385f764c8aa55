import { startDeadline } from '../async/time.ts';
import { BlobUnknownError, BusyError, CacheError } from '../errors/cache-error.ts';
import type { Digest } from '../oci/digest.ts';
import { formatRepository, type Repository } from '../reference/reference.ts';
import { contentKey, type ServeCall, type Serving } from './serving.ts';

/** What a registry said of a blob, and until when that is believed (epoch milliseconds): its size in bytes, or why it cannot be had. */
export interface SizeAnswer {
  readonly untilMs: number;
  readonly size: number | CacheError;
}

/**
 * The size of a blob that no manifest of the repository names, as its registry says it. Anybody can make digests up, and nothing may stay of them: one question for
 * all who ask, a few at a time in one process, and its answer is remembered in memory alone, for a short while; so is a refusal that no later try mends.
 *
 * @throws BlobUnknownError if the repository has no such blob; BusyError if others keep asking; what the registry answers else.
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
  using _turn = await permitFor(state, call, repository);
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

/** A client may read it: unlike the words of the registry, it names no host of the configuration. */
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
  const seats = blobQuestions(registry);
  using soon = startDeadline(patience.permitMs);
  try {
    return await seats.wait(AbortSignal.any([signal, soon.signal]));
  } catch (error) {
    signal.throwIfAborted();
    if (error !== soon.signal.reason) throw error;
    throw new BusyError(
      'find blob',
      `${registry} is asked about ${seats.most} blobs already that no manifest here names; ask again in a moment`,
    );
  }
}
