/** Where the AWS SDK's own variables lead the client of each service, if not to AWS. */
export type SdkEndpoints = Readonly<Record<'S3' | 'DYNAMODB' | 'SFN' | 'EVENTBRIDGE', URL | undefined>>;

/** https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html. What is no URL is left to the SDK to complain about. */
export function sdkEndpoints(env: NodeJS.ProcessEnv = process.env): SdkEndpoints {
  const of = (service: keyof SdkEndpoints): URL | undefined =>
    URL.parse(env[`AWS_ENDPOINT_URL_${service}`] ?? env.AWS_ENDPOINT_URL ?? '') ?? undefined;
  return { S3: of('S3'), DYNAMODB: of('DYNAMODB'), SFN: of('SFN'), EVENTBRIDGE: of('EVENTBRIDGE') };
}
