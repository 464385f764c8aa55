import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { createPublicKey, type KeyObject } from 'node:crypto';
import { dynamoTable, isRefused, type Update } from '../table/dynamo-table.ts';
import { PASSWORD_KEY } from '../table/keys.ts';
import { kept } from '../async/kept.ts';
import type { PublishedKey } from './signing-key.ts';

/** How long after a new key was published a process may accept passwords of the old one. */
const FRESH_MS = 60_000;
/** The same while the table cannot be read. */
const STALE_MS = 5 * 60_000;

interface Row {
  readonly key: KeyObject;
  readonly untilMs: number;
}

/** The key in a row of the table, which expires with the last minted password. */
export function dynamoPublishedKey({
  client,
  table: name,
  now = () => Date.now(),
}: {
  readonly client: DynamoDBClient;
  readonly table: string;
  readonly now?: () => number;
}): PublishedKey {
  const table = dynamoTable(client, name);
  const read = async (signal: AbortSignal): Promise<Row | undefined> => {
    const row = await table.get(PASSWORD_KEY, true, 'find the key of passwords', signal);
    if (row === undefined) return undefined;
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: String(row.publicKey) }, format: 'jwk' });
    return { key, untilMs: Number(row.expiresSeconds) * 1000 };
  };
  const current = kept({ read, freshMs: FRESH_MS, staleMs: STALE_MS, now });
  const setting = (key: KeyObject, untilMs: number): Update => ({
    key: PASSWORD_KEY,
    update: 'SET publicKey = :publicKey, expiresSeconds = :expiresSeconds',
    values: { ':publicKey': textOf(key), ':expiresSeconds': Math.ceil(untilMs / 1000) },
  });
  return {
    async find(signal, atMostMs) {
      const row = await current(signal, atMostMs);
      return row === undefined || row.untilMs <= now() ? undefined : row.key;
    },
    async renew(key, untilMs, signal) {
      const renewal = { ...setting(key, untilMs), condition: 'attribute_not_exists(pk) OR publicKey = :publicKey' };
      return !isRefused(await table.update(renewal, 'publish the key of passwords', signal));
    },
    async replace(key, untilMs, signal) {
      await table.update(setting(key, untilMs), 'publish the key of passwords', signal);
    },
  };
}

/** The 32 bytes of a public Ed25519 key in base64url. */
const textOf = (key: KeyObject): string | undefined => key.export({ format: 'jwk' }).x;
