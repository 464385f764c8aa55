import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import {
  DeadlineError,
  DeniedError,
  ManifestUnknownError,
  RateLimitedError,
  UpstreamUnavailableError,
} from '../../../lib/errors/cache-error.ts';
import { breakers, type Breakers, type QuestionKind, type Subject } from '../../../lib/serve/breakers.ts';

const about = (path: string, name = 'v1', kind: QuestionKind = 'manifests'): Subject => ({
  repository: { registry: 'registry.example.test', path },
  kind,
  name,
});

const broken = new UpstreamUnavailableError('read manifest', 'it answered 500');
const reset = new UpstreamUnavailableError('read manifest', 'the connection broke', {
  cause: Object.assign(new Error('reset'), { code: 'ECONNRESET' }),
});
const refused = new UpstreamUnavailableError('read manifest', 'no connection', {
  cause: Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }),
});
const silent = new UpstreamUnavailableError('read manifest', 'no answer', { timedOut: true });
const late = new DeadlineError('the time is over');

const isAsked = (of: Breakers, subject: Subject): boolean => {
  try {
    of.check(subject);
    return true;
  } catch {
    return false;
  }
};

const clockOf = (context: TestContext): ((ms: number) => void) => {
  context.mock.timers.enable({ apis: ['Date'], now: 1_000_000 });
  return (ms) => context.mock.timers.tick(ms);
};

describe('when a registry is left alone', () => {
  for (const [name, failure] of Object.entries({ broken, reset, refused, silent, late })) {
    test(`${name}: what was asked for rests some seconds, and nothing beside it`, (context) => {
      const pass = clockOf(context);
      const of = breakers();
      of.failed(about('team/bad'), failure, true);
      assert.equal(isAsked(of, about('team/bad')), false);
      for (const neighbour of [
        about('team/bad', 'v2'),
        about('team/bad', 'v1', 'referrers'),
        about('team/bad', 'v1', 'tags'),
        about('team/bad', 'v1', 'blobs'),
        about('team/good'),
      ]) {
        assert.ok(isAsked(of, neighbour), JSON.stringify(neighbour));
      }
      pass(5_001);
      assert.ok(isAsked(of, about('team/bad')));
    });
  }

  test('as many broken ones as there are do not take a neighbour along', () => {
    const of = breakers();
    for (let i = 0; i < 50; i++) of.failed(about(`team/bad-${i}`), i % 2 === 0 ? broken : reset, false);
    assert.ok(isAsked(of, about('team/good')));
  });

  for (const [name, failure] of Object.entries({ refused, silent, late })) {
    test(`${name}: three different questions in a row, and the registry rests for that kind alone`, (context) => {
      const pass = clockOf(context);
      const of = breakers();
      of.failed(about('team/a'), failure, true);
      of.failed(about('team/b'), failure, true);
      of.failed(about('team/a'), failure, true);
      assert.ok(isAsked(of, about('team/good')), 'the same question twice is one');
      of.failed(about('team/c', 'v3'), failure, true);
      assert.equal(isAsked(of, about('team/good')), false);
      assert.ok(isAsked(of, about('team/good', 'v1', 'tags')));
      pass(5_001);
      assert.ok(isAsked(of, about('team/good')));
    });

    test(`${name}: an answer between them says that the registry is there`, () => {
      for (const answer of [
        (of: Breakers) => of.answered(about('team/good')),
        (of: Breakers) => of.failed(about('team/good', 'v9'), broken, false),
        (of: Breakers) => of.failed(about('team/good', 'v9'), new ManifestUnknownError('none'), false),
      ]) {
        const of = breakers();
        for (const path of ['a', 'b']) of.failed(about(`team/${path}`), failure, true);
        answer(of);
        of.failed(about('team/c'), failure, true);
        assert.ok(isAsked(of, about('team/good')));
      }
    });
  }

  test('429 is about the registry, for as long as it says, and for that kind alone', (context) => {
    const pass = clockOf(context);
    const of = breakers();
    of.failed(about('team/a', 'v1', 'referrers'), new RateLimitedError('list referrers', 'too many', 2_000), false);
    assert.throws(() => of.check(about('team/b', 'x', 'referrers')), RateLimitedError);
    assert.ok(isAsked(of, about('team/a')));
    pass(2_001);
    assert.ok(isAsked(of, about('team/b', 'x', 'referrers')));
  });

  test('an answer that refuses, or says that there is none, is an answer; a question that came too late says nothing', () => {
    const of = breakers();
    for (const failure of [new DeniedError('read manifest', 'denied'), new ManifestUnknownError('none')]) {
      for (let i = 0; i < 5; i++) of.failed(about(`team/${i}`), failure, true);
    }
    for (let i = 0; i < 5; i++) of.failed(about(`team/${i}`), late, false);
    assert.ok(isAsked(of, about('team/1')) && isAsked(of, about('team/good')));
  });

  test('Retry-After of a 503 is kept', (context) => {
    const pass = clockOf(context);
    const of = breakers();
    of.failed(about('team/a'), new UpstreamUnavailableError('read manifest', '503', { retryAfterMs: 20_000 }), false);
    pass(19_000);
    assert.equal(isAsked(of, about('team/a')), false);
    pass(1_001);
    assert.ok(isAsked(of, about('team/a')));
  });
});
