/** A pattern of an EventBridge rule, as JSON has it. */
export type EventPattern = Readonly<Record<string, unknown>>;

/**
 * Whether the event matches: every field of the pattern is in the event, with one of the values listed.
 * https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
 *
 * @throws Error for an operator that is not known here: guessing would deliver, or lose, events that AWS would not.
 */
export function matchesPattern(pattern: EventPattern, event: unknown): boolean {
  return Object.entries(pattern).every(([name, wanted]) => {
    const value = isObject(event) ? event[name] : undefined;
    if (Array.isArray(wanted)) return wanted.some((one) => matchesOne(one, value));
    if (isObject(wanted)) return matchesPattern(wanted, value);
    throw new Error(`the event pattern has ${JSON.stringify(wanted)} for ${name}; write a list of values`);
  });
}

/** Of a list in the event, one member is enough. */
function matchesOne(wanted: unknown, value: unknown): boolean {
  if (isObject(wanted) && 'exists' in wanted) return wanted.exists === (value !== undefined);
  const values: unknown[] = Array.isArray(value) ? value : [value];
  return values.some((one) => (isObject(wanted) ? matchesOperator(wanted, one) : one === wanted));
}

function matchesOperator(operator: Record<string, unknown>, value: unknown): boolean {
  const [[name, argument] = []] = Object.entries(operator);
  switch (name) {
    case 'prefix':
      return typeof value === 'string' && value.startsWith(String(argument));
    case 'suffix':
      return typeof value === 'string' && value.endsWith(String(argument));
    case 'wildcard':
      return typeof value === 'string' && wildcard(String(argument)).test(value);
    case 'anything-but':
      return value !== undefined && !matchesAny(argument, value);
    default:
      throw new Error(`the event pattern has the operator ${JSON.stringify(name)}, which the local bus does not know`);
  }
}

const matchesAny = (argument: unknown, value: unknown): boolean =>
  (Array.isArray(argument) ? argument : [argument]).some((one) => matchesOne(one, value));

const wildcard = (text: string): RegExp =>
  new RegExp(`^${text.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`, 's');

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
