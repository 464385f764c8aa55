import type { KeyObject } from 'node:crypto';

/** The private Ed25519 key that signs minted passwords (RFC 8032): in no process but the one that mints. Never shown. */
export interface SigningKey {
  /**
   * The same in every process that has the secret.
   *
   * @param atMostMs how old what was read of the secret may be; without it, some minutes.
   * @throws CacheError where the secret cannot be read
   */
  privateKey(signal: AbortSignal, atMostMs?: number): Promise<KeyObject>;
}

/** The public key of minted passwords, where every process can read it. Only those that mint may write it: whoever can, decides whose passwords are right. */
export interface PublishedKey {
  /**
   * The key; undefined where no password can be right now: none was minted here yet, or the time of the last one is over.
   *
   * @param atMostMs how old what was read of it may be; without it, a minute.
   * @throws CatalogError
   */
  find(signal: AbortSignal, atMostMs?: number): Promise<KeyObject | undefined>;
  /**
   * Lets the key stand until then, in epoch milliseconds: whether it does. False where another key is published, and does not give way to it.
   *
   * @throws CatalogError
   */
  renew(key: KeyObject, untilMs: number, signal: AbortSignal): Promise<boolean>;
  /** The same, in place of any other: passwords of that one are worth nothing from now on. */
  replace(key: KeyObject, untilMs: number, signal: AbortSignal): Promise<void>;
}
