/**
 * Who has proved to hold a blob (I9): `public` (fetched without credentials), or a registry with the credential that read it.
 * Never holds a secret: a credential is named by a hash of its user name or secret id.
 */
declare const trustDomainBrand: unique symbol;
export type TrustDomain = string & { readonly [trustDomainBrand]: true };

export const PUBLIC = 'public' as TrustDomain;

/** `registry.example.test#1f3a…`: content of this registry that this credential may read. */
export const privateDomain = (registry: string, credentialId: string): TrustDomain =>
  `${registry}#${credentialId}` as TrustDomain;
