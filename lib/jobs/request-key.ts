import { createHash } from 'node:crypto';
import { normalisePlatform, type Platform } from '../oci/platform.ts';
import type { PullRequest } from '../pull/pull-request.ts';
import { formatRepository, pointerOf } from '../reference/reference.ts';

/**
 * Equal for requests that mean the same, whatever their order and spelling, and different otherwise: 64 hex digits.
 *
 * `linux/arm64` and `linux/arm64/v8` differ, because the first takes every variant. A tag beside a digest means nothing.
 */
export function requestKey(request: PullRequest): string {
  const { reference, platforms, attestations, alwaysPull, resolvedSinceMs, blob } = request;
  const distinct = [...new Set(platforms.map(exact))].sort();
  const said = [formatRepository(reference.repository), pointerOf(reference), distinct, attestations, alwaysPull];
  if (resolvedSinceMs !== undefined) said.push('as resolved');
  if (blob !== undefined) said.push('blob');
  return createHash('sha256').update(JSON.stringify(said)).digest('hex');
}

function exact(platform: Platform): string {
  const { os, architecture, variant = '' } = normalisePlatform(platform);
  return `${os}/${architecture}/${variant}`;
}
