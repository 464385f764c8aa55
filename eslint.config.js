import tseslint from 'typescript-eslint';

/**
 * The direction of imports (docs/design.md, section 7):
 * oci <- reference <- {store, catalog, lock, registry} <- {pull, serve} <- {functions, cli}.
 * Each restriction lists what a folder must not reach, and why.
 */
const awsClients = {
  group: ['@aws-sdk/*', '@smithy/*'],
  message: 'AWS clients appear only in files named for them (s3-*, dynamo-*, secrets-*, ecr-*).',
};
const undici = { group: ['undici', 'undici/*'], message: 'undici lives in lib/registry alone.' };
const middy = { group: ['@middy/*', 'aws-lambda'], message: 'middy and Lambda types live in functions/ and lib/http.' };
const above = (...folders) => ({
  group: folders.map((folder) => `**/${folder}/**`),
  message: 'Imports go downwards only: see the direction in docs/design.md, section 7.',
});
const restrict = (...patterns) => ({
  '@typescript-eslint/no-restricted-imports': [
    'error',
    { paths: [{ name: 'assert', message: "Use 'node:assert/strict'." }], patterns },
  ],
});

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', '.entrepot/', '.interop/', 'coverage/'] },
  ...tseslint.configs.strictTypeChecked,
  ...tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ['lib/cli/entrepot.js'] },
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
  { files: ['lib/**'], rules: restrict(awsClients, undici, middy, above('functions', 'infra', 'test')) },
  {
    files: ['lib/oci/**', 'lib/errors/**'],
    rules: restrict(awsClients, undici, middy, above('registry', 'store', 'catalog', 'lock', 'pull', 'config', 'cli')),
  },
  {
    files: ['lib/pull/**', 'lib/validate/**'],
    rules: restrict(awsClients, undici, middy, above('functions', 'infra', 'cli', 'http'), {
      group: ['**/s3-*', '**/dynamo-*', '**/registry/*-client*'],
      message: 'pull and validate know interfaces, never a backend.',
    }),
  },
  {
    files: ['lib/**/s3-*.ts', 'lib/**/dynamo-*.ts', 'lib/**/secrets-*.ts', 'lib/**/ecr-*.ts'],
    rules: restrict(undici, middy, above('pull', 'cli', 'functions', 'infra')),
  },
  {
    files: ['lib/registry/**'],
    ignores: ['lib/registry/ecr-*.ts', 'lib/registry/secrets-*.ts'],
    rules: restrict(awsClients, middy, above('pull', 'cli', 'store', 'catalog', 'lock')),
  },
  { files: ['lib/http/**'], rules: restrict(awsClients, undici) },
  { files: ['functions/**'], rules: restrict(undici) },
  {
    files: ['lib/config/**', 'infra/**', 'test/**', 'lib/cli/entrepot.js'],
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
