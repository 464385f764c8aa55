import { ContradictionError } from './check.ts';

/** How a service refused a request. */
export interface Refusal {
  readonly status: number;
  /** Its name of the error: `PreconditionFailed`. */
  readonly name: string;
  readonly error: unknown;
}

/** How the service refused `request`; undefined where it did what was asked. @throws whatever is no answer of the service. */
export async function refusalOf(request: () => Promise<unknown>): Promise<Refusal | undefined> {
  try {
    await request();
    return undefined;
  } catch (error) {
    const { name, $metadata } = error as { name?: string; $metadata?: { httpStatusCode?: number } };
    const status = $metadata?.httpStatusCode;
    if (status === undefined) throw error;
    return { status, name: name ?? 'unnamed', error };
  }
}

/**
 * Says how `request` was refused: with one of `expected`, statuses or names.
 *
 * @throws ContradictionError where it was accepted, or refused in another way.
 */
export async function mustRefuse(
  what: string,
  expected: readonly (number | string)[],
  request: () => Promise<unknown>,
): Promise<string> {
  const refusal = await refusalOf(request);
  if (refusal === undefined) throw new ContradictionError(`${what} was accepted; expected ${expected.join(' or ')}`);
  const { status, name } = refusal;
  const told = `${what}: ${status} ${name}`;
  if (expected.includes(status) || expected.includes(name)) return told;
  throw new ContradictionError(`${told}; expected ${expected.join(' or ')}`);
}
