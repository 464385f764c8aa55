import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { childEnvironment } from '../../../infra/local/processes.ts';
import type { Finding, Verdict } from '../../../lib/doctor/check.ts';

const LAUNCHER = fileURLToPath(new URL('../../../lib/cli/entrepot.js', import.meta.url));

/** What `entrepot doctor` said. */
export interface Report {
  readonly exitCode: number;
  readonly findings: readonly Finding[];
  readonly stdout: string;
  readonly stderr: string;
  of(verdict: Verdict): readonly string[];
  seen(id: string): string;
}

/** `entrepot doctor` as a process of its own. */
export function doctor(args: readonly string[], environment: Readonly<Record<string, string>>): Promise<Report> {
  return new Promise((resolve) => {
    const env = { ...childEnvironment(), ...environment };
    const options = { env, timeout: 90_000 };
    execFile(process.execPath, [LAUNCHER, 'doctor', ...args], options, (error, stdout, stderr) => {
      const isJson = args.includes('--json');
      const documents = isJson
        ? stdout
            .trim()
            .split('\n')
            .map((line) => JSON.parse(line) as Finding)
        : [];
      const findings = documents.filter((document) => 'verdict' in document);
      resolve({
        exitCode: error === null ? 0 : Number(error.code),
        findings,
        stdout,
        stderr,
        of: (verdict) => findings.filter((finding) => finding.verdict === verdict).map(({ id }) => id),
        seen: (id) => findings.find((finding) => finding.id === id)?.seen ?? '',
      });
    });
  });
}
