/*
 * How content comes into the store and its row: of a pull that misses it, of a proof (I9), of whoever adopts what it finds. The row's commit is read
 * before the store is asked, by the claim or by a read.
 */
import { canAcquire, commitUnchanged, saysPresent } from './predicates.ts';
import { BLOCKED, type Step } from './steps.ts';
import { BAD_ETAG, END, isManifest, KILLED, type Actor, type World } from './world.ts';
import { deleteObject, freeClaim, writeState } from './writes.ts';

/** The first step for `vars.digest`. Manifests are stored without a claim, because two who bring the same one cost little. */
export function beginObtain(world: World, me: Actor): string {
  me.vars.put = false;
  return isManifest(world.images, me.vars.digest!) ? 'child' : 'claim';
}

/** The content is there, or is another's business now. */
function obtained(world: World, me: Actor): string {
  freeClaim(world, me.vars.digest!, me);
  me.vars.put = false;
  if (me.kind !== 'pull') return END;
  const { missing = [] } = me.vars;
  missing.shift();
  me.vars.digest = missing[0] ?? '';
  // Shard and rows are read once more: what was there at first may have been lost meanwhile.
  return missing.length > 0 ? beginObtain(world, me) : 'shard';
}

function rememberRow(world: World, me: Actor): void {
  const row = world.rows[me.vars.digest!];
  me.vars.seen = row?.commit ?? 0;
  if (row === undefined) Reflect.deleteProperty(me.vars, 'seenState');
  else me.vars.seenState = row.state;
}

export const obtainSteps: Readonly<Record<string, Step>> = {
  /** CHILD is written before the row of its manifest. */
  child(world, me) {
    world.children[me.vars.digest!] = true;
    return 'seen';
  },

  seen(world, me) {
    rememberRow(world, me);
    return me.kind === 'adopter' ? 'head' : 'put';
  },

  claim(world, me) {
    const digest = me.vars.digest!;
    const row = world.rows[digest];
    if (me.kind === 'pull' && saysPresent(row)) return obtained(world, me);
    const isDead = (holder: number): boolean => world.actors[holder - 1]?.step === KILLED;
    if (!canAcquire(row?.holder, me.token, isDead)) return BLOCKED;
    rememberRow(world, me);
    if (row === undefined) world.rows[digest] = { state: 'absent', commit: 0, etag: '', holder: me.token };
    else row.holder = me.token;
    // A row that was there before may be of someone who died between the object and its row.
    return row === undefined ? 'put' : 'head';
  },

  head(world, me) {
    const { digest = '', put, seenState } = me.vars;
    const etag = world.bucket[digest];
    if (etag === undefined) return me.kind === 'adopter' ? END : 'put';
    if (etag === BAD_ETAG && world.guards.adoptionReadsBytes) return me.kind === 'adopter' ? END : 'replace';
    me.vars.storeEtag = etag;
    // A row that would not change is not written. That of a proof would: it gains a trust domain.
    const isWritten = seenState === 'present' && world.rows[digest]?.etag === etag;
    return isWritten && put !== true && me.kind !== 'proof' ? obtained(world, me) : 'commit';
  },

  /** DELETE If-Match: something wrong lies under the name. */
  replace(world, me) {
    if (world.bucket[me.vars.digest!] === BAD_ETAG) deleteObject(world, me.vars.digest!);
    return 'put';
  },

  /** PUT If-None-Match: *. */
  put(world, me) {
    const digest = me.vars.digest!;
    if (world.bucket[digest] !== undefined) return 'head';
    world.bucket[digest] = digest;
    me.vars.put = true;
    me.vars.storeEtag = digest;
    return 'commit';
  },

  commit(world, me) {
    const { digest = '', put, seen = 0, storeEtag = '' } = me.vars;
    const { guards } = world;
    const row = world.rows[digest];
    const isWrittenAnyway = guards.putAlwaysWrites || !saysPresent(row) || row?.etag !== storeEtag;
    if (put === true ? isWrittenAnyway : true) {
      const found = me.kind === 'proof' ? guards.proofOnCommit : guards.adoptOnCommit;
      if ((put === true ? guards.commitOnCommit : found) && !commitUnchanged(row, seen)) return 'reread';
      writeState(world, digest, 'present', storeEtag);
    }
    if (world.bucket[digest] === storeEtag) world.settled[digest] = true;
    return obtained(world, me);
  },

  /** Refused: ask the row and the store again. */
  reread(world, me) {
    rememberRow(world, me);
    const isDone = me.kind === 'pull' && me.vars.put !== true && me.vars.seenState === 'present';
    return isDone ? obtained(world, me) : 'head';
  },
};
