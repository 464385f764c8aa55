import type { Measurement } from './worker.ts';

const MIB = 1024 * 1024;

/** Prints rows under their heads: words to the left, figures to the right. */
export function printTable(heads: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = heads.map((head, i) => Math.max(head.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  ');
  console.log(`  ${line(heads)}`);
  for (const row of rows) console.log(`  ${line(row)}`);
}

export function printTitle(title: string): void {
  console.log(`\n${title}`);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

export const seconds = (ms: number): string => (ms / 1000).toFixed(2);
export const mebibytes = (bytes: number): string => (bytes / MIB).toFixed(0);

/** Measurements by who was measured, one for each round. */
export type Rounds = ReadonlyMap<string, readonly Measurement[]>;

/** Medians, and the medians of the ratios to `floor` within each round: those outlive a noisy machine. */
export function printRounds(rounds: Rounds, floor: string): void {
  const floors = rounds.get(floor) ?? [];
  const rows = [...rounds].map(([name, all]) => {
    const of = (figure: (one: Measurement) => number): number => median(all.map(figure));
    const ratio = (figure: (one: Measurement) => number): string =>
      median(all.map((one, i) => figure(one) / figure(floors[i] ?? one))).toFixed(2);
    return [
      name,
      String(all.length),
      seconds(of((one) => one.wallMs)),
      ratio((one) => one.wallMs),
      seconds(of((one) => one.cpuMs)),
      ratio((one) => one.cpuMs),
      mebibytes(of((one) => one.peakRssBytes)),
      mebibytes(of((one) => one.peakRssBytes - one.readyRssBytes)),
    ];
  });
  printTable(['', 'rounds', 'wall s', '× floor', 'CPU s', '× floor', 'peak RSS MiB', 'over start'], rows);
}
