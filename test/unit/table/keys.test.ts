import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '../../../lib/oci/digest.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import {
  blobKey,
  blobLeaseName,
  leaseKey,
  linkKey,
  pullLeaseName,
  repoKey,
  repositoryOf,
  rootLinkKey,
  tagKey,
} from '../../../lib/table/keys.ts';

const digest = digestOf(Buffer.from('content'));

test('a claim lives on the row of its blob; the lock of a reference on a row of its own', () => {
  assert.deepEqual(leaseKey(blobLeaseName(digest)), blobKey(digest));
  const tagged = parseReference('registry.example.test:5000/team/app:v1');
  assert.deepEqual(leaseKey(pullLeaseName(tagged)), { pk: 'LOCK#registry.example.test:5000/team/app:v1', sk: 'LOCK' });
  assert.deepEqual(leaseKey('sweep'), { pk: 'LOCK#sweep', sk: 'LOCK' });
});

test('every pointer has a lock and a row of its own; a digest wins over a tag', () => {
  const texts = [
    'alpine:3.20',
    'alpine:latest',
    `alpine@${digest}`,
    'library/alpine2',
    'localhost:5000/library/alpine',
  ];
  const references = texts.map(parseReference);
  assert.equal(new Set(references.map(pullLeaseName)).size, texts.length);
  assert.equal(new Set(references.map((reference) => JSON.stringify(tagKey(reference)))).size, texts.length);
  const both = parseReference(`alpine:3.20@${digest}`);
  assert.equal(pullLeaseName(both), pullLeaseName(parseReference(`alpine@${digest}`)));
});

test('the link to a digest and that to a root of the same digest are two rows', () => {
  const { repository } = parseReference('alpine');
  assert.notDeepEqual(linkKey(repository, digest), rootLinkKey(repository, digest));
});

test('repositoryOf reads what repoKey wrote', () => {
  for (const text of ['alpine', 'localhost/a/b/c', 'registry.example.test:5000/a', '[2001:db8::1]:5000/a/b']) {
    const { repository } = parseReference(text);
    assert.deepEqual(repositoryOf(repoKey(repository).sk), repository);
  }
  // A host without a dot that the configuration names: as a reference its text would mean Docker Hub.
  const bare = { registry: 'registry', path: 'team/app' };
  assert.deepEqual(repositoryOf(repoKey(bare).sk), bare);
});
