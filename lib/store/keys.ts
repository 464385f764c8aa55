import { algorithmOf, hexOf, isDigest, type Digest } from '../oci/digest.ts';

/*
 * The keys of the bucket (docs/design.md, section 3):
 *
 *   blobs/<algorithm>/<hex>                     every manifest, config and layer; the algorithm is sha256 or sha512
 *   refs/<registry>/<repository>/<pointer>.json what a tag (or @digest) meant when it was last published
 *   refs/incarnation.json                       the newest incarnation of a table on this bucket
 *   plans/<pull id>/<n>.json                    the n-th plan of a workflow
 *
 * Each segment under refs/ keeps letters, digits, ".", "_" and "-"; any other character is "!" and its two hex digits, because S3
 * advises against "%", "[" and "]" in keys, and no name contains a "!":
 *
 *   [::1]:5000, team/app, latest     refs/!5B!3A!3A1!5D!3A5000/team/app/latest.json
 *   ghcr.io, org/app, @sha256:1f…    refs/ghcr.io/org/app/!40sha256!3A1f….json
 */

/** The key of the content with this digest. */
export function blobObjectKey(digest: Digest): string {
  return `blobs/${algorithmOf(digest)}/${hexOf(digest)}`;
}

/** The digest of the content at this key; undefined for other keys. */
export function digestOfKey(key: string): Digest | undefined {
  const [, algorithm, hex] = /^blobs\/(sha256|sha512)\/([0-9a-f]+)$/.exec(key) ?? [];
  const digest = `${algorithm}:${hex}`;
  return isDigest(digest) ? digest : undefined;
}

/** The prefix of the keys of all records. */
export const REFS_PREFIX = 'refs/';

/** Records are at least two folders deeper. */
export const INCARNATION_OBJECT = `${REFS_PREFIX}incarnation.json`;

/** The key of this pointer's record. Different pointers have different keys. */
export function refKey(reference: {
  readonly registry: string;
  readonly path: string;
  readonly pointer: string;
}): string {
  const path = reference.path.split('/').map(encodeSegment).join('/');
  return `${REFS_PREFIX}${encodeSegment(reference.registry)}/${path}/${encodeSegment(reference.pointer)}.json`;
}

/** Names are ASCII by their grammar, so two hex digits suffice. */
function encodeSegment(segment: string): string {
  return segment.replace(
    /[^\w.-]/g,
    (character) => `!${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );
}

/** The key of the `number`th plan of the pull. */
export const planKey = (pullId: string, number: number): string => `plans/${pullId}/${number}.json`;
