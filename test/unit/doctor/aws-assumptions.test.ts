import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../../infra/bundles.ts';
import { functionArn, FUNCTIONS, stateMachineArn } from '../../../infra/names.ts';
import { CHECK_GROUPS } from '../../../lib/doctor/doctor.ts';
import { DEPLOYED_FUNCTIONS } from '../../../lib/doctor/platform-checks.ts';

interface Assumption {
  readonly id: string;
  readonly claim: string;
  readonly files: readonly string[];
  readonly page: string;
  readonly shownBy: string;
}

const CHECKS = CHECK_GROUPS.flatMap(({ checks }) => checks);
const document = readFileSync(join(ROOT, 'docs', 'aws-assumptions.md'), 'utf8');
const assumptions = document
  .split('\n')
  .filter((line) => line.startsWith('| `'))
  .map((line): Assumption => {
    const [id = '', claim = '', by = '', page = '', shownBy = ''] = line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
    return {
      id: id.replaceAll('`', ''),
      claim,
      files: [...by.matchAll(/`([^`]+)`/g)].map(([, file = '']) => file),
      page,
      shownBy,
    };
  });

test('what the document says that doctor shows is what doctor looks for, in the same order', () => {
  const documented = assumptions.filter(({ shownBy }) => shownBy === 'doctor').map(({ id }) => id);
  assert.deepEqual(documented.toSorted(), CHECKS.map(({ id }) => id).toSorted());
  const ids = assumptions.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length, 'an id is there twice');
});

test('what doctor does not show says how to see it by hand', () => {
  for (const { id, shownBy } of assumptions.filter(({ shownBy }) => shownBy !== 'doctor')) {
    assert.match(shownBy, /^by hand: .{20,}/, id);
  }
});

test('every assumption says who relies on it, and where AWS says it', () => {
  for (const { id, claim, files, page } of assumptions) {
    assert.match(id, /^[a-z0-9]+(?:-[a-z0-9]+)+$/);
    assert.ok(claim !== '' && files.length > 0, id);
    for (const file of files) assert.ok(existsSync(join(ROOT, file)), `${id}: ${file} is not there`);
    assert.match(page, /^\[[^\]]+\]\(https:\/\/docs\.aws\.amazon\.com\/\S+\)$/, id);
  }
});

test('each check says in a few words what must hold', () => {
  for (const { id, claim } of CHECKS) assert.ok(claim.length > 10 && claim.length < 120, id);
});

test('the names that doctor asks Lambda for are those that are deployed', () => {
  assert.deepEqual(DEPLOYED_FUNCTIONS, FUNCTIONS);
  assert.match(JSON.stringify(functionArn('dev', 'api')), /:function:entrepot-dev-api"/);
  assert.match(JSON.stringify(stateMachineArn('dev')), /:stateMachine:entrepot-dev-pull"/);
});
