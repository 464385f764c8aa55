import { UnauthenticatedError } from '../errors/cache-error.ts';

/** The challenge of a 401. docker, podman and containerd all support it; Bearer would send them to a token server. */
export const BASIC_CHALLENGE = 'Basic realm="entrepot", charset="UTF-8"';

export interface BasicCredentials {
  readonly user: string;
  readonly password: string;
}

const MOST_HEADER_CHARACTERS = 8 * 1024;
const MOST_USER_CHARACTERS = 256;
export const MOST_PASSWORD_CHARACTERS = 4_096;
const HEADER = /^basic +([A-Za-z0-9+/]+={0,2})$/i;
/** RFC 7617, section 2: neither may hold control characters. */
export const CONTROL_CHARACTERS = /[\u0000-\u001f\u007f]/;

/**
 * User and password of a header `Authorization: Basic …` (RFC 7617), bounded, in UTF-8.
 *
 * @throws UnauthenticatedError, which does not quote the header (I7).
 */
export function parseBasic(header: string | undefined): BasicCredentials {
  if (header === undefined || header === '') {
    throw new UnauthenticatedError('log in to this cache with a user of serve.auth, or as "token"');
  }
  const encoded = header.length > MOST_HEADER_CHARACTERS ? undefined : HEADER.exec(header.trim())?.[1];
  if (encoded === undefined)
    throw new UnauthenticatedError('the header Authorization is not "Basic" followed by base64');
  const text = decoded(encoded);
  const colon = text.indexOf(':');
  const [user, password] = [text.slice(0, Math.max(colon, 0)), text.slice(colon + 1)];
  if (user === '' || password === '' || CONTROL_CHARACTERS.test(text)) throw unusable();
  if (user.length > MOST_USER_CHARACTERS || password.length > MOST_PASSWORD_CHARACTERS) throw unusable();
  return { user, password };
}

function decoded(base64: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(base64, 'base64'));
  } catch {
    throw unusable();
  }
}

const unusable = (): UnauthenticatedError =>
  new UnauthenticatedError(
    `the header Authorization must hold a user and a password in UTF-8, at most ${MOST_USER_CHARACTERS} and ${MOST_PASSWORD_CHARACTERS} characters`,
  );
