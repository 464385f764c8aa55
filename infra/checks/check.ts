import type { Resource, Template, Value } from '../cloudformation.ts';

/** Checks one property of a template. Returns the problems, each naming its resource. */
export type Check = (template: Template) => readonly string[];

export type Properties = Readonly<Record<string, Value>>;

export interface Found {
  readonly id: string;
  readonly resource: Resource;
  readonly properties: Properties;
}

/** The resources of a type. */
export const ofType = (template: Template, type: string): readonly Found[] =>
  Object.entries(template.Resources)
    .filter(([, resource]) => resource.Type === type)
    .map(([id, resource]) => ({ id, resource, properties: resource.Properties ?? {} }));

/** The value at a path of keys and indexes; undefined where the path ends before. */
export function at(value: Value | undefined, ...path: readonly (string | number)[]): Value | undefined {
  let here = value;
  for (const key of path) {
    if (typeof here !== 'object') return undefined;
    here = (here as Readonly<Record<string | number, Value | undefined>>)[key];
  }
  return here;
}

/** A list, or the one value that stands for a list; nothing for nothing. */
export const listOf = (value: Value | undefined): readonly Value[] =>
  value === undefined ? [] : Array.isArray(value) ? (value as readonly Value[]) : [value];

export const textsOf = (value: Value | undefined): readonly string[] =>
  listOf(value).filter((item) => typeof item === 'string');

export const same = (one: Value | undefined, other: Value | undefined): boolean =>
  JSON.stringify(one) === JSON.stringify(other);

/** As text, for messages and for searching in ARNs. */
export const shown = (value: Value | undefined): string =>
  typeof value === 'string' ? value : value === undefined ? 'nothing' : JSON.stringify(value);

/** `what`, with its id, for each resource for which `holds` is false. */
export const unless = (found: readonly Found[], what: string, holds: (found: Found) => boolean): readonly string[] =>
  found.filter((one) => !holds(one)).map(({ id }) => `${id} ${what}`);

/** The statements of a policy document. */
export const statementsIn = (document: Value | undefined): readonly Properties[] =>
  listOf(at(document, 'Statement')) as readonly Properties[];

/** The inline statements of a role. */
export const statementsOfRole = ({ properties }: Found): readonly Properties[] =>
  listOf(properties.Policies).flatMap((policy) => statementsIn(at(policy, 'PolicyDocument')));
