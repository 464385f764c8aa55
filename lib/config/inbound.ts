import { resolve } from 'node:path';
import * as z from 'zod';
import type { InboundAuth } from '../access/principal.ts';
import type { Problems } from './problems.ts';
import { readTextFile, UnreadableFileError } from './read-file.ts';
import { text } from './schema-parts.ts';

const FORMS = 'none, tokens, {users: {file: <path>}} or {users: {secret: <Secrets Manager id>}}';
const MAX_FILE_BYTES = 1024 * 1024;

/** One message for all: zod cannot know which of the forms was meant. Values are not shown: somebody may write a password here. */
const orOtherForm = {
  error: (issue: { code?: string | undefined }): string =>
    `${issue.code === 'unrecognized_keys' ? 'unknown key; ' : ''}write ${FORMS}`,
};

/** `serve.auth`: who may pull. */
export const inboundSchema = z.union(
  [
    z.enum(['none', 'tokens']),
    z.strictObject(
      {
        users: z.union(
          [
            z.strictObject({ file: text('the path of a file with users') }, orOtherForm),
            z.strictObject({ secret: text('the name or ARN of a secret in Secrets Manager', 2048) }, orOtherForm),
          ],
          orOtherForm,
        ),
      },
      orOtherForm,
    ),
  ],
  orOtherForm,
);

export interface InboundTarget {
  /** What paths are relative to: the folder of the configuration. */
  readonly folder: string;
  /** Checked as for a deployment. */
  readonly onAws: boolean;
  /** The door on AWS. */
  readonly front: 'httpApi' | 'alb';
}

/**
 * The section `serve.auth`, checked; what is wrong with it goes to `found`. Without it: on AWS minted passwords alone, else nobody is asked.
 *
 * On AWS there is no file of users, and an HTTP API is open to the whole internet: there somebody must be asked.
 */
export function inboundOf(section: unknown, { folder, onAws, front }: InboundTarget, found: Problems): InboundAuth {
  const usual: InboundAuth = onAws ? { kind: 'basic' } : { kind: 'none' };
  if (section === undefined || section === null) return usual;
  const outcome = inboundSchema.safeParse(section);
  const where = ['serve', 'auth'];
  if (!outcome.success) {
    for (const { path, message } of outcome.error.issues) found.add([...where, ...path], message);
    return usual;
  }
  const value = outcome.data;
  if (value === 'tokens') return { kind: 'basic' };
  if (value === 'none') {
    if (onAws && front === 'httpApi') {
      found.add(
        where,
        'is none, but everybody on the internet reaches an HTTP API; write tokens or users, or front: alb for a door inside your network',
      );
    }
    return { kind: 'none' };
  }
  const { users } = value;
  if ('secret' in users) return { kind: 'basic', users: { secretId: users.secret } };
  const file = resolve(folder, users.file);
  if (onAws) {
    found.add(
      [...where, 'users', 'file'],
      'is a file, but functions have none; put it into a secret: {secret: <Secrets Manager id>}',
    );
  } else checkFile(file, [...where, 'users', 'file'], found);
  return { kind: 'basic', users: { file } };
}

/** That it is there. What is in it is read, and read again, by whoever asks for a user. */
function checkFile(file: string, where: readonly string[], found: Problems): void {
  try {
    readTextFile(file, MAX_FILE_BYTES);
  } catch (error) {
    if (!(error instanceof UnreadableFileError)) throw error;
    found.add(where, `${JSON.stringify(file)}: ${error.message}`);
  }
}
