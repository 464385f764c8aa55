import { after, before, describe } from 'node:test';
import { tableOn, type DynamoEndpoint, type TableUnderTest } from '../support/table-under-test.ts';
import { blobRows } from './catalog-blobs.ts';
import { linksAndUses } from './catalog-graph.ts';
import { images } from './catalog-images.ts';
import { publishing } from './catalog-publish.ts';
import { catalogServe } from './catalog-serve.ts';
import { largestRoots } from './catalog-size.ts';

/** What every implementation of the catalogue must do; `make` starts a server of its own for the suite. */
export function catalogSuite(name: string, make: () => Promise<DynamoEndpoint>): void {
  describe(`the catalogue on ${name}`, { timeout: 300_000 }, () => {
    let table: TableUnderTest;
    before(async () => {
      table = await tableOn(await make());
    });
    after(() => table[Symbol.asyncDispose]());
    describe('references and publications', () => publishing(() => table));
    describe('blobs', () => blobRows(() => table));
    // One of them waits for many rounds of back-off.
    describe('links and uses', { concurrency: 4 }, () => linksAndUses(() => table));
    describe('limits', () => largestRoots(() => table));
    describe('images', () => images(() => table));
    describe('serving', () => catalogServe(() => table));
  });
}
