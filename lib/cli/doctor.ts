import { readFile } from 'node:fs/promises';
import { sdkEndpoints } from '../config/environment.ts';
import type { CheckGroup, Finding, Verdict } from '../doctor/check.ts';
import { examineDeployment } from '../doctor/doctor.ts';
import { ConfigError } from '../errors/cache-error.ts';
import { EXIT, formatDuration, printable, type ExitCode, type Output } from './output.ts';

export interface DoctorOptions {
  readonly url: string;
  readonly image?: string;
  readonly registryUrl?: string;
  /** A file with a bearer token: on the command line every user of the machine could read it. */
  readonly tokenFile?: string;
}

const VERDICT_WIDTH = 8;
const ID_WIDTH = 28;

/**
 * Checks a deployment, and prints a line per check as soon as it ends. Fails if one of them fails.
 *
 * @param groups all checks if left out.
 */
export async function runDoctor(
  options: DoctorOptions,
  output: Output,
  signal: AbortSignal,
  groups?: readonly CheckGroup[],
): Promise<ExitCode> {
  const { url, image, registryUrl, tokenFile } = options;
  output.detail('configuration  none is read: it is compiled into the deployment');
  output.detail(`cache          that of the deployment at ${url}`);
  const token = tokenFile === undefined ? undefined : await readToken(tokenFile, signal);
  const asked = {
    url,
    endpoints: sdkEndpoints(),
    ...(image === undefined ? {} : { image }),
    ...(registryUrl === undefined ? {} : { registryUrl }),
    ...(token === undefined ? {} : { token }),
  };
  const tally: Record<Verdict, number> = { holds: 0, fails: 0, skipped: 0 };
  output.status(`checking ${url}`);
  for await (const finding of examineDeployment(asked, signal, groups)) {
    tally[finding.verdict] += 1;
    output.result(finding, [findingLine(finding)]);
  }
  output.note(`${tally.holds} hold, ${tally.fails} fail, ${tally.skipped} skipped: see docs/aws-assumptions.md`);
  return tally.fails === 0 ? EXIT.done : EXIT.failed;
}

function findingLine({ verdict, id, claim, seen, durationMs }: Finding): string {
  // Of a failed check, the claim is printed, too.
  const text = verdict === 'fails' ? `${claim}: ${seen}` : seen;
  const line = `${verdict.padEnd(VERDICT_WIDTH)}${id.padEnd(ID_WIDTH)}${text.replace(/\s+/g, ' ')} (${formatDuration(durationMs)})`;
  return printable(line);
}

async function readToken(file: string, signal: AbortSignal): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, { encoding: 'utf8', signal });
  } catch (cause) {
    signal.throwIfAborted();
    throw new ConfigError(`--token-file ${file} cannot be read`, cause);
  }
  const token = text.trim();
  if (/^[\w.~+/=-]+$/.test(token)) return token;
  throw new ConfigError(`--token-file ${file} holds no bearer token; write nothing but the token into it`);
}
