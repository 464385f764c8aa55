/**
 * The rules that the protocol rests on, by name. Each can be taken out alone, to see that the model finds what goes wrong without it: a model that finds
 * nothing then proves nothing.
 */
export interface Guards {
  /** A finder reads the commit before it asks the store. */
  readonly commitReadBeforeStore: boolean;
  /** A loss is recorded only if nothing was written to the row since. */
  readonly lossOnCommit: boolean;
  /** The epoch moves in the transaction that records the loss, not after it. */
  readonly epochInLoss: boolean;
  /** A deletion that was looked into leaves a new commit on a row that says absent, and makes the row if there is none. */
  readonly deletionRenewsCommit: boolean;
  /** It does so whether or not the row is claimed. (Section 2.2 of the design says "under a live claim", and that is not enough.) */
  readonly deletionRenewsUnclaimed: boolean;
  /** What a PUT brought is committed only on the commit that was read before. */
  readonly commitOnCommit: boolean;
  /** A PUT that was answered 200 writes the row, also where it says present. */
  readonly putAlwaysWrites: boolean;
  /** Content that was found in the store is taken as present only on the commit that was read before. */
  readonly adoptOnCommit: boolean;
  /** Content that was found in the store is read before it counts. */
  readonly adoptionReadsBytes: boolean;
  /** A proof (I9) is written only on the commit that was read before. */
  readonly proofOnCommit: boolean;
  /** Publish and stamp read the shard before the rows. */
  readonly shardBeforeRows: boolean;
  /** Publish and stamp hold only if the shard is as it was read. */
  readonly publishOnShard: boolean;
  /** A root that is known counts as complete only if it is dated by the present epoch. */
  readonly knownRootIsDated: boolean;
  /** Whoever raises the date replaces the set by what it saw itself. */
  readonly raisingReplaces: boolean;
  /** Whoever finds the same date adds what it saw itself, and nothing that it read there before. */
  readonly sameDateAddsOwn: boolean;
  /** Whoever finds the same date leaves in the set what others saw. */
  readonly sameDateKeeps: boolean;
  /** A hit compares the date with the epoch. */
  readonly hitComparesDate: boolean;
  /** A child that is not in the dated set is asked for row by row, as if the date were old. */
  readonly hitAsksForUndated: boolean;
  /** The pointer moves only while the lock is held. */
  readonly publishOnLock: boolean;
}

export const ALL_GUARDS: Guards = {
  commitReadBeforeStore: true,
  lossOnCommit: true,
  epochInLoss: true,
  deletionRenewsCommit: true,
  deletionRenewsUnclaimed: true,
  commitOnCommit: true,
  putAlwaysWrites: true,
  adoptOnCommit: true,
  adoptionReadsBytes: true,
  proofOnCommit: true,
  shardBeforeRows: true,
  publishOnShard: true,
  knownRootIsDated: true,
  raisingReplaces: true,
  sameDateAddsOwn: true,
  sameDateKeeps: true,
  hitComparesDate: true,
  hitAsksForUndated: true,
  publishOnLock: true,
};

export const without = (guard: keyof Guards): Guards => ({ ...ALL_GUARDS, [guard]: false });
