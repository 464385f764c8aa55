import type { Platform } from '../oci/platform.ts';
import type { Reference, Repository } from '../reference/reference.ts';

/** Which tags of a repository a warm-up takes. All that is given must hold; `newest` then keeps the highest versions. */
export interface TagRule {
  /** A glob over the tag: `1.*-alpine`. */
  readonly glob?: string;
  /** A range over tags that are versions: `>=1.25 <2`. */
  readonly semver?: string;
  /** How many, from the highest version down. */
  readonly newest?: number;
}

/** One line of a warm-up. */
export interface WarmupEntry {
  readonly what:
    | { readonly kind: 'reference'; readonly reference: Reference }
    | { readonly kind: 'repository'; readonly repository: Repository; readonly tags: TagRule };
  readonly platforms: readonly Platform[];
  readonly attestations: boolean;
}

/** One of `warmups` of the configuration: a list and its schedule. */
export interface WarmupSettings {
  /** Unique: letters, digits, "-" and "_", at most 40. */
  readonly name: string;
  /** As EventBridge Scheduler wants it: `cron(0 3 * * ? *)`, `rate(6 hours)`. */
  readonly schedule: string;
  /** IANA: `Europe/Berlin`. */
  readonly timeZone: string;
  /** Pulls that it lets run at the same time. */
  readonly parallel: number;
  readonly entries: readonly WarmupEntry[];
}
