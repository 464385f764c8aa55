import { CONTROL_CHARACTERS, MOST_PASSWORD_CHARACTERS } from '../access/basic.ts';
import { formatPasswordHash, hashPassword } from '../access/password-hash.ts';
import { isName, TOKEN_USER } from '../access/users.ts';
import { InvalidRequestError } from '../errors/cache-error.ts';
import { EXIT, type ExitCode, type Output } from './output.ts';

/**
 * Standard input, read to its end.
 *
 * @throws InvalidRequestError if it is longer than `maxBytes`.
 */
export async function readInput(input: AsyncIterable<Buffer>, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of input) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new InvalidRequestError('stdin', `standard input is longer than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

const MAX_INPUT_BYTES = 4 * MOST_PASSWORD_CHARACTERS;
const NOTED_CHARACTERS = 12;
const INTERRUPT = '\u0003';
const END = '\u0004';
const BACKSPACES = ['\u007f', '\b'];

/** Prints the entry of a user for the document of `serve.auth.users`. The password is read from standard input and not shown. */
export async function runHashPassword(
  name: string,
  groups: readonly string[],
  output: Output,
  signal: AbortSignal,
): Promise<ExitCode> {
  for (const one of [name, ...groups]) {
    if (!isName(one)) {
      throw new InvalidRequestError('name', `${JSON.stringify(one)}: write letters, digits and ._@+-, at most 128`);
    }
  }
  if (name === TOKEN_USER) {
    throw new InvalidRequestError(
      'name',
      `${TOKEN_USER} is reserved for passwords issued by POST /v1/token; choose another name`,
    );
  }
  output.detail('configuration  none is read');
  output.detail('cache          none is used');
  const { stdin } = process;
  const typed = stdin.isTTY ? await promptFor(stdin, output, signal) : await readInput(stdin, MAX_INPUT_BYTES);
  const password = typed.replace(/\r?\n$/, '');
  if (password === '' || password.length > MOST_PASSWORD_CHARACTERS || CONTROL_CHARACTERS.test(password)) {
    throw new InvalidRequestError(
      'password',
      `a password is one line of 1 to ${MOST_PASSWORD_CHARACTERS} characters, none of them a control character`,
    );
  }
  if (password.length < NOTED_CHARACTERS) {
    output.note(`This password is short. For a machine, use a random one: openssl rand -base64 24`);
  }
  const entry = { name, password: formatPasswordHash(await hashPassword(password)), groups };
  const lines = [
    `- name: ${yaml(name)}`,
    `  password: ${entry.password}`,
    `  groups: [${groups.map(yaml).join(', ')}]`,
  ];
  output.result(entry, lines);
  return EXIT.done;
}

/** Quoted: YAML would read some names as numbers or booleans. */
const yaml = (name: string): string => JSON.stringify(name);

/** One line from the terminal, without echo. @throws InvalidRequestError after Ctrl-C */
async function promptFor(terminal: NodeJS.ReadStream, output: Output, signal: AbortSignal): Promise<string> {
  output.note('Password (not shown):');
  let typed = '';
  terminal.setRawMode(true).setEncoding('utf8');
  try {
    for await (const chunk of terminal as AsyncIterable<string>) {
      for (const character of chunk) {
        if (character === '\r' || character === '\n' || character === END) return typed;
        if (character === INTERRUPT) throw new InvalidRequestError('password', 'interrupted');
        if (BACKSPACES.includes(character)) typed = typed.slice(0, -1);
        else typed += character;
      }
      signal.throwIfAborted();
    }
    return typed;
  } finally {
    terminal.setRawMode(false);
  }
}
