import { ConfigError, InvalidDigestError, InvalidNameError, InvalidRequestError } from '../errors/cache-error.ts';
import { parsePlatform, type Platform } from '../oci/platform.ts';
import { parseKnownReference } from '../reference/reference.ts';
import type { Config } from '../config/config.ts';
import type { OpenCache } from './cache.ts';
import { imageRows } from './images.ts';
import { listenForInterruption } from './interruption.ts';
import { EXIT, type ExitCode, type Output } from './output.ts';
import { pullImages, type NamedRequest } from './pull.ts';
import { rebuildTable, validateImage } from './repair.ts';

export interface JsonOption {
  readonly json?: true;
  readonly verbose?: true;
}

interface PlatformOption extends JsonOption {
  readonly platform?: readonly string[];
}

export interface PullOptions extends PlatformOption {
  readonly alwaysPull?: true;
  readonly attestations: boolean;
}

export interface ValidateOptions extends PlatformOption {
  readonly attestations: boolean;
  readonly deep?: true;
  readonly bytes?: true;
}

export function runPull(references: readonly string[], options: PullOptions, output: Output): Promise<ExitCode> {
  return runCommand(output, references, async (signal) => {
    const platforms = parsePlatforms(options);
    const config = await readConfig(output);
    const requests: NamedRequest[] = [];
    for (const asked of references) {
      try {
        requests.push({
          asked,
          request: {
            reference: parseKnownReference(asked, config.registries),
            platforms,
            alwaysPull: options.alwaysPull === true,
            attestations: options.attestations,
          },
        });
      } catch (error) {
        output.failure(error, [asked]);
      }
    }
    // One invalid reference: nothing is pulled, and only the invalid ones are reported.
    if (requests.length < references.length) return EXIT.usage;
    await using cache = await openCache(config, output, signal);
    return await pullImages(cache.services.pull, requests, output, signal, (error) => cache.explained(error));
  });
}

export function runValidate(asked: string, options: ValidateOptions, output: Output): Promise<ExitCode> {
  return runCommand(output, [asked], async (signal) => {
    const platforms = parsePlatforms(options);
    const config = await readConfig(output);
    const request = {
      reference: parseKnownReference(asked, config.registries),
      platforms,
      attestations: options.attestations,
      deep: options.deep === true,
      bytes: options.bytes === true,
    };
    await using cache = await openCache(config, output, signal);
    output.status(`validating ${asked}`);
    return await explaining(cache, validateImage(cache.services.pull, request, output, signal));
  });
}

export function runImages(output: Output): Promise<ExitCode> {
  return runCommand(output, [], async (signal) => {
    const config = await readConfig(output);
    await using cache = await openCache(config, output, signal);
    output.status('listing the images');
    const { cacheName } = await import('./cache.ts');
    return await explaining(cache, imageRows(cache.services.catalog, cacheName(config.store), output, signal));
  });
}

export function runRebuild(output: Output): Promise<ExitCode> {
  return runCommand(output, [], async (signal) => {
    await using cache = await openCache(await readConfig(output), output, signal);
    output.status('reading the records of the bucket');
    return await explaining(cache, rebuildTable(cache.services.pull, output, signal));
  });
}

/** Loaded on first use: the SDK takes a quarter of a second, which help and usage errors need not wait for. */
const openCache = async (config: Config, output: Output, signal: AbortSignal): Promise<OpenCache> =>
  (await import('./cache.ts')).openCache(config, output, signal);

/** @throws the error of `work`, or a clearer one if the fault is in the cache itself. */
const explaining = (cache: OpenCache, work: Promise<ExitCode>): Promise<ExitCode> =>
  work.catch((error: unknown) => {
    throw cache.explained(error);
  });

const readConfig = async (output: Output): Promise<Config> => (await import('./cache.ts')).configured(output);

const parsePlatforms = (options: PlatformOption): readonly Platform[] =>
  (options.platform ?? []).map((text) => parsePlatform(text, '--platform'));

/** Runs `work`. The first Ctrl-C ends it cleanly; an error is reported for each of the `references`, after Ctrl-C for none of them. */
export async function runCommand(
  output: Output,
  references: readonly string[],
  work: (signal: AbortSignal) => Promise<ExitCode>,
): Promise<ExitCode> {
  using interruption = listenForInterruption();
  try {
    return await work(interruption.signal);
  } catch (error) {
    // After Ctrl-C, references that had begun are reported already.
    output.failure(error, interruption.signal.aborted ? [] : references);
    return isUsage(error) ? EXIT.usage : EXIT.failed;
  } finally {
    output.status(undefined);
  }
}

/** Whether the user can fix it by another argument or configuration. */
function isUsage(error: unknown): boolean {
  return (
    error instanceof InvalidNameError ||
    error instanceof InvalidDigestError ||
    error instanceof InvalidRequestError ||
    error instanceof ConfigError
  );
}
