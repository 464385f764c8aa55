import type { Catalog } from '../../../lib/catalog/ports.ts';
import { sleep } from '../../../lib/async/time.ts';
import type { Digest } from '../../../lib/oci/digest.ts';

/** Writes of the catalogue that rest on what was seen before: where a process stands still, that may be otherwise by then. */
export const STEPS = ['recordBlob', 'commitBlob', 'recordLoss', 'recordLossAgain', 'publish'] as const;
export type Step = (typeof STEPS)[number];

export interface Standstill {
  readonly step: Step;
  /** How many of these writes pass before one waits. */
  skip: number;
  readonly forMs: number;
}

/** Makes processes stand still before what they are about to write. */
export interface Standstills {
  /** Each takes one write. */
  readonly rules: Standstill[];
  /** Is told of each. */
  note: (text: string) => void;
  /** The catalogue of a process that these rules are for. */
  readonly before: (catalog: Catalog) => Catalog;
  /** What the next one to stand still is about to write of. Never settles where none does. */
  next(): Promise<readonly Digest[]>;
}

export function startStandstills(): Standstills {
  const rules: Standstill[] = [];
  let next = Promise.withResolvers<readonly Digest[]>();
  const pass = async (step: Step, about: readonly Digest[]): Promise<void> => {
    const rule = rules.find((one) => one.step === step);
    if (rule === undefined || rule.skip-- > 0) return;
    rules.splice(rules.indexOf(rule), 1);
    standstills.note(`a standstill before ${step} of ${about.join()}`);
    next.resolve(about);
    next = Promise.withResolvers();
    await sleep(rule.forMs, new AbortController().signal);
  };
  const standstills: Standstills = {
    rules,
    note: () => undefined,
    next: () => next.promise,
    before: (catalog) => ({
      ...catalog,
      async recordBlob(...args) {
        await pass('recordBlob', [args[0].content.digest]);
        return await catalog.recordBlob(...args);
      },
      async commitBlob(...args) {
        await pass('commitBlob', [args[1].content.digest]);
        return await catalog.commitBlob(...args);
      },
      async recordLoss(...args) {
        const about = args[0].map(({ digest }) => digest);
        const isNew = args[0].some(({ state }) => state === 'present');
        if (about.length > 0) await pass(isNew ? 'recordLoss' : 'recordLossAgain', about);
        return await catalog.recordLoss(...args);
      },
      async publish(...args) {
        await pass('publish', args[0].complete);
        return await catalog.publish(...args);
      },
    }),
  };
  return standstills;
}
