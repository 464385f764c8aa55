import type { Output, Resource, Template, Value } from '../cloudformation.ts';
import type { Zip } from './zips.ts';

/** Resources of osls's own deployments. */
const DEPLOYMENT_BUCKET = 'ServerlessDeploymentBucket';

/**
 * The template of osls for other tools: without its deployment bucket, and with the code at `CodeBucket` and `CodePrefix`. Zips are named by
 * their content: CloudFormation sees new code as a change, and old code stays in place.
 */
export function plainTemplate(compiled: Template, zips: readonly Zip[]): Template {
  const resources = Object.entries(compiled.Resources)
    .filter(([id]) => !id.startsWith(DEPLOYMENT_BUCKET))
    .map(([id, resource]): [string, Resource] => [id, withPlainCode(withoutNeedlessOrder(resource), zips)]);
  const outputs = Object.entries(compiled.Outputs ?? {})
    .filter(([id]) => !id.startsWith(DEPLOYMENT_BUCKET))
    .map(([id, { Description, Value }]): [string, Output] => [
      id,
      { ...(Description === undefined ? {} : { Description }), Value },
    ]);
  return {
    AWSTemplateFormatVersion: '2010-09-09',
    Description: 'Entrepot: an OCI image cache. Made by npm run package.',
    Parameters: {
      CodeBucket: { Type: 'String', Description: 'The bucket of this region that holds the zips' },
      CodePrefix: { Type: 'String', Default: '', Description: 'Prefix of their keys, with its final "/"' },
    },
    Resources: Object.fromEntries(resources),
    Outputs: Object.fromEntries(outputs),
  };
}

/** The name of a zip in the plain package. */
export const plainZipName = ({ name, sha256 }: Zip): string => `${name}-${sha256.slice(0, 16)}.zip`;

function withPlainCode(resource: Resource, zips: readonly Zip[]): Resource {
  if (resource.Type !== 'AWS::Lambda::Function') return resource;
  const { S3Key: key } = resource.Properties?.Code as { S3Key: string };
  const zip = zips.find(({ name }) => key.endsWith(`/${name}.zip`));
  if (zip === undefined) throw new Error(`no function has its code at ${key}`);
  const code = { S3Bucket: { Ref: 'CodeBucket' }, S3Key: { 'Fn::Sub': `\${CodePrefix}${plainZipName(zip)}` } };
  return { ...resource, Properties: { ...resource.Properties, Code: code } };
}

/** Without the `DependsOn` that references imply: osls writes them, and linters warn about them. */
function withoutNeedlessOrder({ DependsOn, ...resource }: Resource): Resource {
  const named = new Set(referencesOf(resource.Properties ?? {}));
  const needed = [DependsOn ?? []].flat().filter((id) => !named.has(id));
  return needed.length === 0 ? resource : { ...resource, DependsOn: needed };
}

/** The logical ids that the value refers to by Ref and Fn::GetAtt. */
function referencesOf(value: Value): readonly string[] {
  if (typeof value !== 'object') return [];
  if (Array.isArray(value)) return (value as readonly Value[]).flatMap(referencesOf);
  return Object.entries(value).flatMap(([key, item]) => {
    if (key === 'Ref' && typeof item === 'string') return [item];
    if (key === 'Fn::GetAtt' && Array.isArray(item) && typeof item[0] === 'string') return [item[0]];
    return referencesOf(item);
  });
}
