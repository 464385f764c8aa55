import { accessSync } from 'node:fs';
import { join } from 'node:path';
import { INTEROP_FOLDER, oneAtATime } from './install.ts';

/** A command of a Go module. The version is pinned: what the tests expect of it is what this version does. */
export interface GoProgram {
  /** The package of the command, as `go install` takes it without the version. */
  readonly path: string;
  readonly version: string;
  /** Built without C, whose headers a machine may lack. */
  readonly pureGo?: true;
}

export const CRANE: GoProgram = { path: 'github.com/google/go-containerregistry/cmd/crane', version: 'v0.22.1' };

/** The rename comes last, so that a program that is there is whole. */
const BUILD = `[ -x "$1/$2" ] || {
  mkdir -p "$1/incoming" &&
  env $4 GOBIN="$1/incoming" go install "$3" &&
  mv "$1/incoming/$2" "$1/$2"
}`;

/**
 * The path of the program, built by Go from its module proxy where it is not there yet.
 *
 * @throws Error with what Go printed, when it cannot be built.
 */
export async function buildGoProgram({ path, version, pureGo }: GoProgram): Promise<string> {
  const name = path.split('/').at(-1) ?? path;
  const folder = join(INTEROP_FOLDER, `${name}-${version}`);
  const program = join(folder, name);
  try {
    accessSync(program);
  } catch {
    await oneAtATime(BUILD, [folder, name, `${path}@${version}`, pureGo === true ? 'CGO_ENABLED=0' : '']); // Not there yet.
  }
  return program;
}
