/** A value of a template: JSON, with intrinsic functions as objects. */
export type Value = string | number | boolean | readonly Value[] | { readonly [key: string]: Value };

export interface Resource {
  readonly Type: string;
  readonly Properties?: Readonly<Record<string, Value>>;
  readonly DependsOn?: string | readonly string[];
  readonly DeletionPolicy?: 'Delete' | 'Retain' | 'RetainExceptOnCreate' | 'Snapshot';
  readonly UpdateReplacePolicy?: 'Delete' | 'Retain' | 'Snapshot';
}

/** By logical id. */
export type Resources = Readonly<Record<string, Resource>>;

export interface Output {
  readonly Description?: string;
  readonly Value: Value;
}

export interface Template {
  readonly AWSTemplateFormatVersion?: string;
  readonly Description?: string;
  readonly Parameters?: Readonly<Record<string, Readonly<Record<string, Value>>>>;
  readonly Resources: Resources;
  readonly Outputs?: Readonly<Record<string, Output>>;
}

export const ref = (logicalId: string): Value => ({ Ref: logicalId });

export const attribute = (logicalId: string, name: string): Value => ({ 'Fn::GetAtt': [logicalId, name] });

/** `${AWS::Region}` and the like inside the text are replaced by CloudFormation. */
export const sub = (text: string): Value => ({ 'Fn::Sub': text });

/** An ARN of this partition, region and account: `arn('sqs', 'name')`. */
export const arn = (service: string, rest: string): Value =>
  sub(`arn:\${AWS::Partition}:${service}:\${AWS::Region}:\${AWS::AccountId}:${rest}`);
