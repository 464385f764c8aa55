/**
 * Who may read a blob, as proved by fetching it (I9): anyone on the internet, or readers of a registry with one credential, or
 * without any. Holds no secret: a credential is named by a hash of its user name or secret id.
 */
declare const trustDomainBrand: unique symbol;
export type TrustDomain = string & { readonly [trustDomainBrand]: true };

/** Content that a public registry serves without credentials (decision 0033). */
export const PUBLIC = 'internet' as TrustDomain;

/** `registry.example.test#1f3a…`: content of a registry that one credential may read. */
export const privateDomain = (registry: string, credentialId: string): TrustDomain =>
  `${registry}#${credentialId}` as TrustDomain;

const ANONYMOUS = '#anonymous-';

/** `registry.example.test#anonymous-1f3a…`: content that a private registry serves without credentials. `hostsId` names its hosts. */
export const anonymousDomain = (registry: string, hostsId: string): TrustDomain =>
  `${registry}${ANONYMOUS}${hostsId}` as TrustDomain;

/** Whether no credentials belong to the domain. */
export const isAnonymous = (domain: TrustDomain): boolean => domain === PUBLIC || domain.includes(ANONYMOUS);
