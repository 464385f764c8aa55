import type { Store } from './exchange.ts';
import { DamageError } from './files.ts';
import type { StoredObject } from './object-rows.ts';

/** Nearly all manifests and configs are below this: their bytes are checked at each lookup. */
const SMALL_BYTES = 64 * 1024;
/** Keys that one line of the log names. */
const MOST_NAMED = 10;

/**
 * An object whose files exist with their sizes and, if it is small, with their bytes checked. The files are kept until it is disposed, even if they
 * are deleted.
 */
export interface WholeObject extends AsyncDisposable {
  readonly object: StoredObject;
  /** @throws DamageError in place of the first bytes that differ from what was written. */
  read(start: number, end: number): AsyncIterable<Buffer> | Iterable<Buffer>;
}

/** The object of the key. A damaged one counts as missing, and is removed. */
export async function findWhole(store: Store, bucket: string, key: string): Promise<WholeObject | undefined> {
  const { files } = store;
  const object = store.objects.find(bucket, key);
  if (object === undefined) return undefined;
  const segments = store.objects.segments(object);
  files.hold(segments);
  const release = (): Promise<void> => files.release(segments);
  try {
    const small = object.size <= SMALL_BYTES ? files.readSmall(segments) : undefined;
    if (small === undefined) await files.check(segments);
    return {
      object,
      read: (start, end) => (small === undefined ? files.read(segments, start, end) : [small.subarray(start, end)]),
      [Symbol.asyncDispose]: release,
    };
  } catch (error) {
    await release();
    if (!(error instanceof DamageError)) throw error;
    await removeDamaged(store, bucket, object, error);
    return undefined;
  }
}

/** Removes the object of the key if it is damaged. Call it before checking a condition. */
export async function dropDamaged(
  store: Store,
  { bucket, key }: { readonly bucket: string; readonly key: string },
): Promise<void> {
  await (await findWhole(store, bucket, key))?.[Symbol.asyncDispose]();
}

/** Removes the object as a DELETE would, unless it was replaced meanwhile. The next pull writes it again. */
export async function removeDamaged(
  store: Store,
  bucket: string,
  { key, id }: Pick<StoredObject, 'key' | 'id'>,
  { message }: DamageError,
): Promise<void> {
  await removeAll(store, [{ bucket, key, id }], message);
}

/**
 * Compares all files with their rows, by name and size, in one pass (60 ms for ten thousand): objects with a damaged file
 * are removed, and so are such parts of uploads, and files that no row names.
 */
export async function sweep(store: Store): Promise<void> {
  const sizes = await store.files.sizes();
  const named = new Set<string>();
  const isDamaged = ({ file, size }: { file: string; size: number }): boolean => {
    named.add(file);
    return sizes.get(file) !== size;
  };
  const parts = store.uploads.allParts().filter(isDamaged);
  const objects = [...store.objects.files()].filter(isDamaged);
  if (parts.length > 0) {
    await store.database.write(() => {
      for (const { upload, number } of parts) store.uploads.removePart(upload, number);
    });
  }
  await removeAll(store, objects, 'its files were gone or had another size at the start');
  const unnamed = [...sizes.keys()].filter((file) => !named.has(file));
  await store.files.discard([...unnamed, ...parts.map(({ file }) => file)]);
}

async function removeAll(
  store: Store,
  objects: readonly { readonly bucket: string; readonly key: string; readonly id: string }[],
  reason: string,
): Promise<void> {
  if (objects.length === 0) return;
  const removed: { readonly bucket: string; readonly key: string }[] = [];
  const unnamed = await store.database.write(() =>
    objects.flatMap(({ bucket, key, id }) => {
      if (store.objects.find(bucket, key)?.id !== id) return [];
      removed.push({ bucket, key });
      return store.objects.remove(bucket, key);
    }),
  );
  if (removed.length === 0) return;
  for (const { bucket, key } of removed) store.deleted(bucket, key);
  const keys = removed.map(({ bucket, key }) => `${bucket}/${key}`);
  const line = { damaged: keys.slice(0, MOST_NAMED), objects: keys.length, reason, removed: true };
  process.stderr.write(`${JSON.stringify(line)}\n`);
  await store.files.discard(unnamed);
}
