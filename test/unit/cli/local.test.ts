import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { exportLines } from '../../../lib/cli/local.ts';

test('a POSIX shell reads back every value as it was', { skip: process.platform === 'win32' }, () => {
  const variables = {
    PLAIN: 'http://127.0.0.1:1/a',
    EMPTY: '',
    SPACES: ' a  b ',
    QUOTES: `it's "quoted" \\ 'twice'`,
    CODE: '$(exit 3) `exit 4` $HOME ; exit 5 & | > <',
    LINES: 'one\ntwo\n # three',
    GLOB: '* ? [a] ~ ! {a,b}',
    OTHER: 'ü \u0001 -e',
  };
  const script = `${exportLines(variables).join('\n')}\nexec "$0" -e 'process.stdout.write(JSON.stringify(process.env))'`;
  const environment = JSON.parse(execFileSync('sh', ['-c', script, process.execPath], { encoding: 'utf8' })) as object;
  assert.deepEqual(Object.fromEntries(Object.entries(environment).filter(([name]) => name in variables)), variables);
  assert.deepEqual(exportLines({ PLAIN: variables.PLAIN }), ['export PLAIN=http://127.0.0.1:1/a']);
});
