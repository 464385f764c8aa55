/** What the key is used for: each purpose has a key of its own, derived from the one secret. */
export type KeyPurpose = 'minted passwords' | 'remembered passwords' | 'waiting room';

/** The secret of this deployment that signs what clients bring back. Shared by all its processes, and never shown. */
export interface SigningKeys {
  /** 32 bytes, the same in every process of the deployment. @throws CacheError where the secret cannot be read */
  key(purpose: KeyPurpose, signal: AbortSignal): Promise<Uint8Array>;
}
