import { after, before, describe } from 'node:test';
import { tableOn, type DynamoEndpoint, type TableUnderTest } from '../support/table-under-test.ts';
import { blobRows } from './catalog-blobs.ts';
import { links } from './catalog-graph.ts';
import { completeness } from './catalog-completeness.ts';
import { images } from './catalog-images.ts';
import { publishing } from './catalog-publish.ts';
import { catalogServe } from './catalog-serve.ts';
import { largestRoots } from './catalog-size.ts';
import { versions } from './catalog-versions.ts';

/** What every implementation of the catalogue must do; `make` starts a server of its own for the suite. */
export function catalogSuite(name: string, make: () => Promise<DynamoEndpoint>): void {
  describe(`the catalogue on ${name}`, { timeout: 300_000 }, () => {
    let table: TableUnderTest;
    before(async () => {
      table = await tableOn(await make());
    });
    after(() => table[Symbol.asyncDispose]());
    describe('references and publications', () => publishing(() => table));
    describe('what is complete', () => completeness(() => table));
    describe('versions', () => versions(() => table));
    describe('blobs', () => blobRows(() => table));
    // One of them waits for many rounds of back-off.
    describe('links', { concurrency: 4 }, () => links(() => table));
    describe('limits', () => largestRoots(() => table));
    describe('images', () => images(() => table));
    describe('serving', () => catalogServe(() => table));
  });
}
