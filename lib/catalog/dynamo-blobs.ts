import { LeaseLostError } from '../errors/cache-error.ts';
import { fenceValues, STILL_HELD } from '../lock/dynamo-fence.ts';
import type { Fence } from '../lock/lease.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import type { StoredContent } from '../store/content-store.ts';
import type { Catalog } from './catalog.ts';
import { isRefused, type Table, type Update } from './dynamo-table.ts';
import { blobKey, NOBODY, SWEEP_KEY } from './keys.ts';

/** Nobody wrote the object anew since it was found to be gone or wrong. */
const SAME_OBJECT = 'attribute_not_exists(etag) OR etag = :seen';

/** What is in the store, and how far is what is on its way there. */
export function blobWrites(table: Table) {
  return {
    async recordBlob(content, stored, domains, signal) {
      const row = present(content, stored, domains);
      await table.update({ key: blobKey(content.digest), ...row }, 'record content', signal);
    },

    async commitBlob(claim, content, stored, domains, signal) {
      const row = present(content, stored, domains);
      const outcome = await table.update(
        {
          key: blobKey(content.digest),
          ...row,
          update: row.update.replace('SET ', 'SET holder = :nobody, committedBy = :holder, '),
          condition: STILL_HELD,
          values: { ...row.values, ...fenceValues(claim), ':nobody': NOBODY },
        },
        'commit a blob',
        signal,
      );
      // A refusal by our own write is a success whose first answer was lost.
      if (isRefused(outcome) && outcome.row?.committedBy !== claim.holder) throw lost(claim, 'commit a blob');
      claim.markReleased();
    },

    async saveCheckpoint(claim, digest, checkpoint, signal) {
      const outcome = await table.update(
        {
          key: blobKey(digest),
          update: 'SET checkpoint = :checkpoint',
          condition: STILL_HELD,
          values: { ':checkpoint': checkpoint, ...fenceValues(claim) },
        },
        'save a checkpoint',
        signal,
      );
      if (isRefused(outcome)) throw lost(claim, 'save a checkpoint');
    },

    async markBlobLost(row, distrustedEtag, signal) {
      const distrusted = distrustedEtag === undefined ? '' : ', distrustedEtag = :distrusted';
      const gone: Update = {
        key: blobKey(row.digest),
        update: `SET #state = :absent${distrusted} REMOVE etag, crc32`,
        condition: SAME_OBJECT,
        names: { '#state': 'state' },
        values: { ':absent': 'absent', ':seen': row.etag ?? NOBODY, ':distrusted': distrustedEtag },
      };
      // A pull that counted the blob as present a moment ago must not publish it as complete: in the same write, its epoch ends (I2).
      const nextEpoch: Update = { key: SWEEP_KEY, update: 'ADD epoch :one', values: { ':one': 1 } };
      return (await table.transact([gone, nextEpoch], 'mark content as lost', signal)) === undefined;
    },
  } satisfies Partial<Catalog>;
}

/** What a row says of content that is in the store. */
function present(
  content: Descriptor,
  stored: StoredContent,
  domains: readonly TrustDomain[],
): Pick<Update, 'update' | 'names' | 'values'> {
  return {
    update:
      'SET #state = :present, #size = :size, etag = :etag' +
      (stored.crc32 === undefined ? ' REMOVE crc32,' : ', crc32 = :crc32 REMOVE') +
      ' checkpoint, distrustedEtag' +
      (domains.length === 0 ? '' : ' ADD domains :domains'),
    names: { '#state': 'state', '#size': 'size' },
    values: {
      ':present': 'present',
      ':size': content.size,
      ':etag': stored.etag,
      ':crc32': stored.crc32,
      ':domains': domains.length === 0 ? undefined : new Set(domains),
    },
  };
}

const lost = (claim: Fence, op: string): LeaseLostError =>
  new LeaseLostError(op, `${claim.name} was taken over before we could ${op}; its row was not changed, pull again`);
