/** https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html, with FIPS and dual-stack names. */
const ECR_HOST =
  /^(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)$/;

/** The account and region of a private ECR registry by its host, or undefined if it is none. */
export function parseEcrHost(host: string): { readonly accountId: string; readonly region: string } | undefined {
  const [, accountId, region] = ECR_HOST.exec(host) ?? [];
  return accountId === undefined || region === undefined ? undefined : { accountId, region };
}
