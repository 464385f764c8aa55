import type { Finding, Verdict } from '../../../lib/doctor/check.ts';
import { entrepot, entrepotProcess } from '../../support/entrepot.ts';

/** What `entrepot doctor` said. */
export interface Report {
  readonly exitCode: number | null;
  readonly findings: readonly Finding[];
  readonly stdout: string;
  readonly stderr: string;
  of(verdict: Verdict): readonly string[];
  seen(id: string): string;
}

type Environment = Readonly<Record<string, string>>;

/** `entrepot doctor` in this process. */
export const doctor = (args: readonly string[], environment: Environment): Promise<Report> =>
  reported(entrepot, args, environment);

/** `entrepot doctor` as a process of its own. */
export const doctorProcess = (args: readonly string[], environment: Environment): Promise<Report> =>
  reported(entrepotProcess, args, environment);

async function reported(
  run: typeof entrepot | typeof entrepotProcess,
  args: readonly string[],
  environment: Environment,
): Promise<Report> {
  const done = await run(['doctor', ...args], environment);
  const documents = args.includes('--json') ? (done.documents as Finding[]) : [];
  const findings = documents.filter((document) => 'verdict' in document);
  return {
    exitCode: done.code,
    findings,
    stdout: done.stdout,
    stderr: done.stderr,
    of: (verdict) => findings.filter((finding) => finding.verdict === verdict).map(({ id }) => id),
    seen: (id) => findings.find((finding) => finding.id === id)?.seen ?? '',
  };
}
