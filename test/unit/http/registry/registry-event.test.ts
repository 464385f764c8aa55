import fc from 'fast-check';
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BASIC_CHALLENGE, parseBasic } from '../../../../lib/access/basic.ts';
import { UnauthenticatedError } from '../../../../lib/errors/cache-error.ts';
import { eventTransport, unknownEvent } from '../../../../lib/http/registry/registry-event.ts';
import { alb, ANSWERS, cameTo, doorOf, httpApi, PATH } from '../../../support/transport-events.ts';

describe('an HTTP API', () => {
  test('gives method, path, query and headers', () => {
    const { request } = doorOf(httpApi());
    assert.deepEqual(
      [request.method, request.path, request.query, request.header('Authorization'), request.header('range')],
      ['GET', PATH, 'ns=docker.io', 'Basic eDp5', undefined],
    );
    assert.equal(doorOf(httpApi({}, '$default', 'HEAD')).request.method, 'HEAD');
  });

  test('sends cookies apart, and what came twice with commas: a list for a list, and no login', () => {
    const { request } = doorOf({
      version: '2.0',
      routeKey: '$default',
      rawPath: '/my/path',
      rawQueryString: 'parameter1=value1&parameter1=value2&parameter2=value',
      cookies: ['cookie1', 'cookie2'],
      headers: {
        Header1: 'value1',
        Header2: 'value1,value2',
        accept: 'a/b,c/d',
        authorization: 'Basic eDp5,Basic eDp5',
      },
      queryStringParameters: { parameter1: 'value1,value2', parameter2: 'value' },
      requestContext: {
        accountId: '123456789012',
        apiId: 'api-id',
        domainName: 'id.execute-api.us-east-1.amazonaws.com',
        domainPrefix: 'id',
        http: { method: 'POST', path: '/my/path', protocol: 'HTTP/1.1', sourceIp: 'IP', userAgent: 'agent' },
        requestId: 'id',
        routeKey: '$default',
        stage: '$default',
        time: '12/Mar/2020:19:03:58 +0000',
        timeEpoch: 1583348638390,
      },
      body: 'Hello from Lambda',
      pathParameters: { parameter1: 'value1' },
      isBase64Encoded: false,
      stageVariables: { stageVariable1: 'value1' },
    });
    assert.deepEqual([request.method, request.path], ['POST', '/my/path']);
    assert.equal(request.query, 'parameter1=value1&parameter1=value2&parameter2=value');
    assert.deepEqual([request.header('header2'), request.header('accept')], ['value1,value2', 'a/b,c/d']);
    assert.equal(request.header('cookie'), undefined);
    assert.throws(() => parseBasic(request.header('authorization')), UnauthenticatedError);
  });

  test('has the name of a stage before its paths, which is no part of them', () => {
    const path = (rawPath: string, stage: string): string => doorOf(httpApi({ rawPath }, stage)).request.path;
    assert.equal(path('/prod/v2/prod/app/tags/list', 'prod'), '/v2/prod/app/tags/list');
    assert.equal(path('/prod/prod/v2/', 'prod'), '/prod/v2/');
    assert.equal(path('/production/v2/', 'prod'), '/production/v2/');
    assert.equal(path('/prod', 'prod'), '/prod');
    assert.equal(path('/$default/v2/', '$default'), '/$default/v2/');
  });

  test('decodes a path once: what it comes to is what it would be if it had been sent so', () => {
    for (const [rawPath, expected] of [
      // GET /v2/ghcr.io%2Forg/app/manifests/v1, and with %252F
      ['/v2/ghcr.io/org/app/manifests/v1', 'ghcr.io/org/app'],
      ['/v2/ghcr.io%2Forg/app/manifests/v1', 'NAME_INVALID'],
      // sha256%3A…
      [`/v2/ghcr.io/org/app/manifests/sha256:${'a'.repeat(64)}`, 'ghcr.io/org/app'],
      ['/v2/ghcr.io//org/app/manifests/v1', 'NAME_INVALID'],
      ['//v2/ghcr.io/org/app/manifests/v1', 'outside'],
      ['/v2/ghcr.io/org/../app/manifests/v1', 'NAME_INVALID'],
      ['/v2/../v1/images', 'UNSUPPORTED'],
      // %3F, %23, %00 and a space
      ['/v2/ghcr.io/org/app?/manifests/v1', 'NAME_INVALID'],
      ['/v2/ghcr.io/org/app#/manifests/v1', 'NAME_INVALID'],
      ['/v2/ghcr.io/org/app/manifests/v1\u0000', 'NAME_INVALID'],
      ['/v2/ghcr.io/org/a b/manifests/v1', 'NAME_INVALID'],
      ['/v2/ghcr.io/org/é/manifests/v1', 'NAME_INVALID'],
    ] as const) {
      assert.equal(cameTo(httpApi({ rawPath, rawQueryString: '' })), expected, rawPath);
    }
  });

  test('gives the query as it was sent', () => {
    const rawPath = '/v2/org/app/manifests/v1';
    assert.equal(cameTo(httpApi({ rawPath, rawQueryString: 'ns=%67hcr.io' })), 'ghcr.io/org/app');
    assert.equal(cameTo(httpApi({ rawPath, rawQueryString: 'ns=%2567hcr.io' })), 'NAME_INVALID');
    assert.equal(cameTo(httpApi({ rawPath, rawQueryString: 'ns=ghcr.io&ns=docker.io' })), 'NAME_INVALID');
  });

  test('carries bytes in base64, headers once each, and no body where there is none', () => {
    const door = doorOf(httpApi());
    const of = (name: string) => door.answer(ANSWERS[name] ?? assert.fail());
    assert.deepEqual(of('manifest'), {
      statusCode: 200,
      headers: { 'content-type': 'a/b', etag: '"x"' },
      body: 'AP+ACg==',
      isBase64Encoded: true,
    });
    assert.deepEqual(of('blobHead'), { statusCode: 200, headers: { 'content-length': '1234567', etag: '"x"' } });
    assert.deepEqual(of('notModified'), { statusCode: 304, headers: { etag: '"x"' } });
    const redirected = { location: 'https://x', 'cache-control': 'no-store' };
    assert.deepEqual(of('redirect'), { statusCode: 307, headers: redirected });
    assert.deepEqual(of('challenge'), { statusCode: 401, headers: { 'www-authenticate': BASIC_CHALLENGE } });
    const { statusCode, headers, body, isBase64Encoded } = of('refused');
    assert.deepEqual([statusCode, headers?.allow, isBase64Encoded], [405, 'GET, HEAD', true]);
    const document = { errors: [{ code: 'UNSUPPORTED', message: 'no' }] };
    assert.deepEqual(JSON.parse(Buffer.from(body ?? '', 'base64').toString()), document);
  });

  test('carries six megabytes, base64 and the rest of the answer included', () => {
    const { limits } = doorOf(httpApi());
    assert.ok((limits.bodyBytes * 4) / 3 < 6_000_000);
    assert.ok(limits.bodyBytes >= 4 * 1024 * 1024, 'the least that the specification asks for');
  });
});

describe('a load balancer', () => {
  const HEADERS = {
    accept: 'text/html,application/xhtml+xml',
    'accept-language': 'en-US,en;q=0.8',
    cookie: 'cookies',
    host: 'lambda-846800462-us-east-2.elb.amazonaws.com',
    'user-agent': 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_6)',
    'x-amzn-trace-id': 'Root=1-5bdb40ca-556d8b0c50dc66f0511bf520',
    'x-forwarded-for': '72.21.198.66',
    'x-forwarded-port': '443',
    'x-forwarded-proto': 'https',
  };
  const listed = (headers: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]));

  test('gives single values', () => {
    const { request } = doorOf(
      alb({ httpMethod: 'HEAD', headers: HEADERS, queryStringParameters: { ns: 'ghcr.io', last: 'a%2Fb', n: '' } }),
    );
    assert.deepEqual(
      [request.method, request.path, request.query, request.header('Accept'), request.header('authorization')],
      ['HEAD', PATH, 'ns=ghcr.io&last=a%2Fb&n=', HEADERS.accept, undefined],
    );
    assert.equal(doorOf(alb({ headers: HEADERS, queryStringParameters: {} })).request.query, '');
    assert.equal(doorOf(alb()).request.header('accept'), undefined);
  });

  test('gives lists where they are switched on; a header that comes twice is none, unless it is a list', () => {
    // GET …?&myKey=val1&myKey=val2
    const { request } = doorOf(
      alb({
        multiValueHeaders: {
          ...listed(HEADERS),
          cookie: ['name1=value1', 'name2=value2'],
          Accept: ['a/b', 'c/d, e/f'],
          accept: [],
          'if-none-match': ['"a"', '"b"'],
          authorization: ['Basic a', 'Basic b'],
        },
        multiValueQueryStringParameters: { myKey: ['val1', 'val2'], last: ['a%2Fb'] },
      }),
    );
    assert.equal(request.query, 'myKey=val1&myKey=val2&last=a%2Fb');
    assert.deepEqual(
      [request.header('accept'), request.header('if-none-match'), request.header('host')],
      ['a/b, c/d, e/f', '"a", "b"', HEADERS.host],
    );
    assert.deepEqual([request.header('authorization'), request.header('cookie')], [undefined, undefined]);
    const none = doorOf(alb({ multiValueHeaders: {}, multiValueQueryStringParameters: {} })).request;
    assert.deepEqual([none.query, none.header('accept')], ['', undefined]);
  });

  test('hands a path on as it came: nothing that could be decoded is a name', () => {
    for (const [path, expected] of [
      ['/v2/ghcr.io/org/app/manifests/v1', 'ghcr.io/org/app'],
      [`/v2/ghcr.io/org/app/manifests/sha256%3A${'a'.repeat(64)}`, 'ghcr.io/org/app'],
      ['/v2/ghcr.io%2Forg/app/manifests/v1', 'NAME_INVALID'],
      ['/v2/ghcr.io%252Forg/app/manifests/v1', 'NAME_INVALID'],
      ['/v2/ghcr.io//org/app/manifests/v1', 'NAME_INVALID'],
      ['//v2/', 'outside'],
      ['/v2/ghcr.io/org/../app/manifests/v1', 'NAME_INVALID'],
      ['/v2/ghcr.io/org/%2e%2e/app/manifests/v1', 'NAME_INVALID'],
      ['/v2/ghcr.io/org/app%3F/manifests/v1', 'NAME_INVALID'],
    ] as const) {
      assert.equal(cameTo(alb({ path, multiValueHeaders: {} })), expected, path);
    }
  });

  test('gives a query that is decoded once, here, and shows what came twice', () => {
    const path = '/v2/org/app/manifests/v1';
    const asked = (ns: string[]): string =>
      cameTo(alb({ path, multiValueHeaders: {}, multiValueQueryStringParameters: { ns } }));
    assert.equal(asked(['%67hcr.io']), 'ghcr.io/org/app');
    assert.equal(asked(['%2567hcr.io']), 'NAME_INVALID');
    assert.equal(asked(['ghcr.io', 'docker.io']), 'NAME_INVALID');
    assert.equal(asked([]), 'docker.io/org/app');
  });

  test('asks for its health where it is told to; the answer has the form of the question', () => {
    const check = { path: '/', queryStringParameters: {}, headers: { 'user-agent': 'ELB-HealthChecker/2.0' } };
    assert.equal(cameTo(alb(check)), 'outside');
    assert.equal(cameTo(alb({ ...check, path: '/v2/' })), 'ping');
    const { headers, ...rest } = check;
    const answer = { status: 404, headers: { 'content-type': 'application/json' } };
    const single = doorOf(alb(check)).answer(answer);
    assert.deepEqual([single.headers, 'multiValueHeaders' in single], [answer.headers, false]);
    const lists = doorOf(alb({ ...rest, multiValueHeaders: listed(headers) })).answer(answer);
    assert.deepEqual(
      [lists, 'headers' in lists],
      [
        {
          statusCode: 404,
          statusDescription: '404 Not Found',
          multiValueHeaders: { 'content-type': ['application/json'] },
          isBase64Encoded: false,
        },
        false,
      ],
    );
  });

  test('takes single values back, with a description of the status', () => {
    const door = doorOf(alb({ headers: {} }));
    const of = (name: string) => door.answer(ANSWERS[name] ?? assert.fail());
    const empty = (statusCode: number, phrase: string, headers: object) => ({
      statusCode,
      statusDescription: `${statusCode} ${phrase}`,
      headers,
      isBase64Encoded: false,
    });
    assert.deepEqual(of('manifest'), {
      ...empty(200, 'OK', { 'content-type': 'a/b', etag: '"x"' }),
      isBase64Encoded: true,
      body: 'AP+ACg==',
    });
    assert.deepEqual(of('blobHead'), empty(200, 'OK', { 'content-length': '1234567', etag: '"x"' }));
    assert.deepEqual(of('notModified'), empty(304, 'Not Modified', { etag: '"x"' }));
    const redirected = { location: 'https://x', 'cache-control': 'no-store' };
    assert.deepEqual(of('redirect'), empty(307, 'Temporary Redirect', redirected));
    assert.deepEqual(of('challenge'), empty(401, 'Unauthorized', { 'www-authenticate': BASIC_CHALLENGE }));
  });

  test('takes lists back where it gave them', () => {
    const door = doorOf(alb({ multiValueHeaders: {} }));
    for (const [name, answered] of Object.entries(ANSWERS)) {
      const { multiValueHeaders, statusCode, ...rest } = door.answer(answered) as Record<string, unknown>;
      assert.deepEqual([multiValueHeaders, statusCode], [listed(answered.headers), answered.status], name);
      const hasBody = (answered.body?.byteLength ?? 0) > 0;
      assert.deepEqual([rest.isBase64Encoded, 'body' in rest, 'headers' in rest], [hasBody, hasBody, false], name);
    }
  });

  test('carries one megabyte, base64 and the rest of the answer included', () => {
    assert.ok((doorOf(alb({ headers: {} })).limits.bodyBytes * 4) / 3 < 1_000_000);
  });
});

describe('whatever the function is invoked with', () => {
  /** A request of a REST API, or of an HTTP API with payload 1.0. */
  const REST = {
    version: '1.0',
    resource: '/{proxy+}',
    path: PATH,
    httpMethod: 'GET',
    headers: { authorization: 'Basic eDp5' },
    multiValueHeaders: { authorization: ['Basic eDp5'] },
    requestContext: { stage: 'prod', httpMethod: 'GET', path: `/prod${PATH}`, identity: {} },
    body: null,
    isBase64Encoded: false,
  };
  const QUEUE = { Records: [{ eventSource: 'aws:sqs', messageId: '1', body: '{}' }] };
  const BUS = { version: '0', 'detail-type': 'x', source: 'y', detail: {} };

  test('a function URL sends what an HTTP API does', () => {
    const host = 'abc.lambda-url.eu-central-1.on.aws';
    assert.equal(
      cameTo({ ...httpApi(), headers: { host }, requestContext: { ...httpApi().requestContext, domainName: host } }),
      'docker.io/library/alpine',
    );
  });

  test('what is no request has no door, and an answer of its own that every form of API Gateway takes', () => {
    const shapes: readonly unknown[] = [
      undefined,
      null,
      0,
      true,
      '',
      'x',
      [],
      [REST],
      {},
      { version: '2.0' },
      { requestContext: {} },
      { requestContext: null },
    ];
    for (const event of [...shapes, { version: '2.0', requestContext: { http: 'GET' } }, REST, QUEUE, BUS]) {
      assert.equal(eventTransport(event), undefined, JSON.stringify(event));
    }
    const { statusCode, headers, body, isBase64Encoded } = unknownEvent();
    assert.deepEqual([statusCode, headers?.['content-type'], isBase64Encoded], [400, 'application/json', false]);
    assert.match(body ?? '', /"code":"UNSUPPORTED".*payload format 2\.0/);
  });

  /** An event as AWS sends it, with any of its fields, and of the fields in those, left out or of any type. */
  const damaged = (event: Readonly<Record<string, unknown>>, depth: number): fc.Arbitrary<unknown> =>
    fc
      .record(
        Object.fromEntries(
          Object.entries(event).map(([name, value]) => {
            const isMap = typeof value === 'object' && value !== null && !Array.isArray(value);
            const whole =
              isMap && depth > 0 ? damaged(value as Readonly<Record<string, unknown>>, depth - 1) : fc.constant(value);
            return [name, fc.oneof({ arbitrary: whole, weight: 4 }, { arbitrary: fc.jsonValue(), weight: 1 })];
          }),
        ),
        { requiredKeys: [] },
      )
      .map((fields): unknown => fields);
  const events = fc.oneof(
    fc.jsonValue(),
    ...[
      httpApi({}, 'prod'),
      alb({ headers: { accept: 'a/b' }, queryStringParameters: { ns: 'ghcr.io' } }),
      REST,
      QUEUE,
    ].map((event) => damaged(event, 3)),
    damaged(alb({ multiValueHeaders: { accept: ['a/b'] }, multiValueQueryStringParameters: { ns: ['ghcr.io'] } }), 3),
  );

  test('it has a door or none, and of that door everything is text: what is asked for is refused with a word of the specification, or known', () => {
    let doors = 0;
    fc.assert(
      fc.property(events, (event) => {
        const door = eventTransport(event);
        if (door === undefined) return;
        doors += 1;
        const { request } = door;
        for (const text of [request.method, request.path, request.query]) assert.equal(typeof text, 'string');
        for (const name of ['authorization', 'Accept', 'if-none-match', '__proto__', 'constructor', 'toString']) {
          assert.match(typeof request.header(name), /^(?:string|undefined)$/, name);
        }
        assert.notEqual(cameTo(event), 'no code');
        for (const answered of Object.values(ANSWERS)) {
          const { statusCode, body = '' } = door.answer(answered);
          assert.deepEqual([statusCode, typeof body], [answered.status, 'string']);
        }
      }),
      { numRuns: 2_000 },
    );
    assert.ok(doors > 200, `only ${doors} of the events had a door`);
  });
});

describe('the address of a client', () => {
  test('is what API Gateway saw', () => {
    const event = httpApi({
      requestContext: { stage: '$default', http: { method: 'GET', path: PATH, sourceIp: '192.0.2.7' } },
    });
    assert.equal(eventTransport(event)?.request.address, '192.0.2.7');
    assert.equal(eventTransport(httpApi())?.request.address, undefined);
  });

  test('is what the load balancer added last, whatever the client sent before it', () => {
    const cases: readonly (readonly [string | undefined, string | undefined])[] = [
      ['192.0.2.7', '192.0.2.7'],
      ['6.6.6.6, 192.0.2.7', '192.0.2.7'],
      ['6.6.6.6,192.0.2.7:51234', '192.0.2.7'],
      ['2001:db8::7', '2001:db8::7'],
      ['[2001:db8::7]:51234', '2001:db8::7'],
      ['192.0.2.7, made up', undefined],
      ['', undefined],
      [undefined, undefined],
    ];
    for (const [value, address] of cases) {
      const headers = value === undefined ? {} : { 'x-forwarded-for': value };
      assert.equal(eventTransport(alb({ headers }))?.request.address, address, value);
      const multiValueHeaders = value === undefined ? {} : { 'x-forwarded-for': ['6.6.6.6', value] };
      if (value !== undefined)
        assert.equal(eventTransport(alb({ multiValueHeaders }))?.request.address, address, value);
    }
  });
});
