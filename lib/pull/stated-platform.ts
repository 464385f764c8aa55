import type { Descriptor } from '../oci/descriptor.ts';
import { platformOfConfig, type Manifest } from '../oci/manifest.ts';
import { isImageConfigType } from '../oci/media-type.ts';
import type { Platform } from '../oci/platform.ts';
import type { PullLimits } from './pull-request.ts';

/**
 * The platform of a single image, as its config states it; undefined for an artifact, and where the config states none, or is too large to be read for it: it is
 * content all the same.
 */
export async function statedPlatform(
  { config }: Manifest,
  { manifestBytes }: Pick<PullLimits, 'manifestBytes'>,
  read: (config: Descriptor) => Promise<Uint8Array>,
): Promise<Platform | undefined> {
  if (config === undefined || !isImageConfigType(config.mediaType) || config.size > manifestBytes) return undefined;
  return platformOfConfig(await read(config));
}

/** Why {@link statedPlatform} found none, for messages: `is an artifact without a platform (no config states one)`. */
export function withoutPlatform({ config }: Manifest, { manifestBytes }: Pick<PullLimits, 'manifestBytes'>): string {
  if (config !== undefined && isImageConfigType(config.mediaType) && config.size > manifestBytes) {
    return `states its platform in a config of ${config.size} bytes, which is not read for it: the limit is ${manifestBytes} (limits.manifestBytes in the configuration)`;
  }
  return 'is an artifact without a platform (no config states one)';
}
