import tseslint from 'typescript-eslint';

/**
 * The direction of imports (docs/design.md, section 7):
 * oci <- reference <- {store, catalog, lock, registry} <- {pull, serve} <- {functions, cli}.
 * Each restriction lists what a folder must not reach, and why.
 */
const awsClients = {
  group: ['@aws-sdk/*', '@smithy/*'],
  message:
    'AWS clients appear only in files named for them (s3-*, dynamo-*, secrets-*, ecr-*, sfn-*, events-*, lambda-*).',
};
const undici = { group: ['undici', 'undici/*'], message: 'undici lives in lib/registry alone.' };
const middy = {
  group: ['@middy/*', 'aws-lambda'],
  message: 'middy and Lambda types live in functions/, lib/lambda and lib/http.',
};
/** What a folder of lib may import besides itself: everything that is not listed is refused, and so is every folder above lib. */
const BELOW = {
  errors: [],
  async: ['errors'],
  oci: ['errors'],
  reference: ['errors', 'oci'],
  table: ['errors', 'async', 'oci', 'reference'],
  store: ['errors', 'async', 'oci', 'reference'],
  lock: ['errors', 'async', 'oci', 'reference', 'table'],
  catalog: ['errors', 'async', 'oci', 'reference', 'table', 'store', 'lock'],
  registry: ['errors', 'async', 'oci', 'reference'],
  pull: ['errors', 'async', 'oci', 'reference', 'table', 'store', 'catalog', 'lock', 'registry'],
  images: ['errors', 'oci', 'reference', 'table', 'store', 'lock', 'catalog', 'pull'],
  repair: ['errors', 'async', 'oci', 'reference', 'table', 'store', 'catalog', 'lock', 'pull'],
  telemetry: ['errors', 'registry'],
  jobs: ['errors', 'async', 'oci', 'reference', 'table', 'store', 'catalog', 'lock', 'registry', 'pull', 'telemetry'],
  warmup: ['errors', 'async', 'oci', 'reference', 'table', 'catalog', 'lock', 'registry', 'pull', 'jobs', 'telemetry'],
  access: ['errors', 'async', 'reference', 'table'],
  serve: [
    'errors',
    'async',
    'oci',
    'reference',
    'table',
    'store',
    'catalog',
    'lock',
    'registry',
    'pull',
    'jobs',
    'access',
    'telemetry',
    'repair',
  ],
  config: ['errors', 'oci', 'reference', 'registry', 'pull', 'access', 'warmup', 'serve'],
  http: [
    'errors',
    'async',
    'oci',
    'reference',
    'pull',
    'images',
    'repair',
    'jobs',
    'access',
    'telemetry',
    'serve',
    'catalog',
    'config',
  ],
  events: ['errors', 'oci', 'reference', 'store', 'registry', 'pull', 'jobs', 'config', 'http', 'telemetry'],
  lambda: ['errors', 'async', 'config', 'http', 'telemetry', 'jobs'],
  doctor: [
    'errors',
    'async',
    'oci',
    'reference',
    'table',
    'store',
    'catalog',
    'jobs',
    'telemetry',
    'access',
    'config',
    'http',
  ],
};
const ALL = [...Object.keys(BELOW), 'cli'];
/** Files of a backend: known to lib/services.ts, and to one another, alone. */
const backends = {
  regex:
    '(^|/)(s3|dynamo|secrets|ecr|docker|sfn|events|lambda)-[^/]*$|/registry/(client|transport|session|auth|tokens|connector)\\.ts$',
  message: 'Above the backends only interfaces are known.',
};
const direction = (folder, ...patterns) => {
  const refused = ALL.filter((other) => other !== folder && !BELOW[folder].includes(other));
  // lib/lambda stands above the composition: it opens the services for the functions.
  const above = folder === 'lambda' ? 'functions/|infra/|test/' : 'services\\.ts$|functions/|infra/|test/';
  return {
    files: [`lib/${folder}/**`],
    rules: restrict(...patterns, {
      regex: `^(\\.\\./)+((${refused.join('|')})/|${above})`,
      message: `lib/${folder} imports ${BELOW[folder].join(', ') || 'nothing'} alone: see the direction in docs/design.md, section 7.`,
    }),
  };
};
const restrict = (...patterns) => ({
  '@typescript-eslint/no-restricted-imports': [
    'error',
    {
      paths: [
        { name: 'assert', message: "Use 'node:assert/strict'." },
        { name: 'node:process', message: 'Only lib/config reads the environment.' },
      ],
      patterns,
    },
  ],
});

/** What not every platform has: refused where the two commands of the README run (docs/decisions/0028-without-proc-and-groups.md). */
const EVERYWHERE = [
  {
    selector:
      ':matches(Literal[value=/^\\u002f(proc|sys|dev|tmp|etc)\\b/], TemplateElement[value.raw=/^\\u002f(proc|sys|dev|tmp|etc)\\b/])',
    message: 'Not on every platform.',
  },
  {
    selector: 'Literal[value=/^SIG(?!(INT|TERM|KILL|HUP)$)[A-Z0-9]+$/]',
    message: 'Windows has no such signal.',
  },
  {
    selector:
      'MemberExpression[object.name="process"][property.name=/^((get|set)(e?[ug]id|groups)|initgroups|umask|execve)$/]',
    message: 'Not on every platform.',
  },
  {
    selector: 'MemberExpression[property.name=/^(ino|uid|gid)$/]',
    message: 'Not the same on every platform.',
  },
  {
    selector: 'MemberExpression[object.name="process"][property.name="kill"]',
    message: "A pid may be a stranger's, and a negative one is a group: ask the child, or processes.ts.",
  },
  {
    selector: 'Property[key.name="detached"]',
    message: 'Groups of processes are not on every platform: only what must outlive us is detached, in processes.ts.',
  },
];

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', '.entrepot/', '.interop/', 'coverage/'] },
  ...tseslint.configs.strictTypeChecked,
  ...tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ['lib/cli/*.js'] },
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      '@typescript-eslint/return-await': ['error', 'error-handling-correctness-only'],
      '@typescript-eslint/consistent-type-definitions': ['error', 'interface'],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/unified-signatures': 'off',
      'no-async-promise-executor': 'error',
      'no-empty': 'error',
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'env', message: 'Only lib/config reads the environment.' },
      ],
      eqeqeq: 'error',
    },
  },
  // A later entry replaces the whole rule for its files: so each names every pattern it needs.
  { files: ['lib/*.ts', 'lib/cli/**'], rules: restrict(awsClients, undici, middy) },
  ...[
    'errors',
    'async',
    'oci',
    'reference',
    'config',
    'events',
    'table',
    'store',
    'catalog',
    'lock',
    'jobs',
    'telemetry',
    'doctor',
  ].map((folder) => direction(folder, awsClients, undici, middy)),
  ...['pull', 'images', 'repair', 'warmup', 'access', 'serve'].map((folder) =>
    direction(folder, awsClients, undici, middy, backends),
  ),
  direction('registry', awsClients, middy),
  ...['http', 'lambda'].map((folder) => direction(folder, awsClients, undici)),
  ...['table', 'store', 'catalog', 'lock', 'registry', 'jobs', 'telemetry', 'warmup', 'doctor', 'access', 'serve'].map(
    (folder) => ({
      ...direction(folder, undici, middy),
      files: [`lib/${folder}/{s3,dynamo,secrets,ecr,sfn,events,lambda,sigv4}-*.ts`],
    }),
  ),
  {
    files: ['lib/cli/**', 'infra/local/**'],
    // Names files of other machines.
    ignores: ['lib/cli/mirror-config/**'],
    rules: { 'no-restricted-syntax': ['error', ...EVERYWHERE] },
  },
  {
    files: ['infra/local/processes.ts', 'lib/cli/launch.js'],
    rules: {
      'no-restricted-syntax': ['error', ...EVERYWHERE.filter(({ selector }) => !/"kill"|"detached"/.test(selector))],
    },
  },
  { files: ['functions/**'], rules: restrict(awsClients, undici) },
  {
    files: ['lib/config/**', 'infra/**', 'test/**', 'lib/cli/entrepot.js', 'lib/config/credential-helper.ts'],
    rules: { 'no-restricted-properties': 'off' },
  },
  {
    files: ['test/**'],
    rules: {
      // node:test's `test()` returns a promise that the runner itself awaits.
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            {
              from: 'package',
              name: ['test', 'describe', 'it', 'suite', 'before', 'after', 'beforeEach', 'afterEach'],
              package: 'node:test',
            },
          ],
        },
      ],
      '@typescript-eslint/no-non-null-assertion': 'off',
    },
  },
  { files: ['**/*.js'], extends: [tseslint.configs.disableTypeChecked] },
);
