/**
 * Who has proved to hold a blob (I9): anyone on the internet, or a registry with the credential that read it, or without one.
 * Never holds a secret: a credential is named by a hash of its user name or secret id.
 */
declare const trustDomainBrand: unique symbol;
export type TrustDomain = string & { readonly [trustDomainBrand]: true };

/**
 * Read without credentials from a public registry. `public`, the word before this one, stood for every registry without credentials: nothing reads it any
 * more, in rows, metadata, checkpoints and plans (decision 0033).
 */
export const PUBLIC = 'internet' as TrustDomain;

/** `registry.example.test#1f3a…`: content of this registry that this credential may read. */
export const privateDomain = (registry: string, credentialId: string): TrustDomain =>
  `${registry}#${credentialId}` as TrustDomain;

const ANONYMOUS = '#anonymous-';

/** `registry.example.test#anonymous-1f3a…`: what this registry gives without credentials, where not everyone can reach it; `placesId` names its hosts. */
export const anonymousDomain = (registry: string, placesId: string): TrustDomain =>
  `${registry}${ANONYMOUS}${placesId}` as TrustDomain;

/** Whether no credentials belong to the domain. */
export const isAnonymous = (domain: TrustDomain): boolean => domain === PUBLIC || domain.includes(ANONYMOUS);
