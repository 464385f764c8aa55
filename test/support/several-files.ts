import { describe } from 'node:test';
import { relative } from 'node:path';

/** Runs test files one after the other in this process: each is a suite, with its hooks for itself. */
export function severalFiles(project: string, files: readonly string[]): void {
  for (const file of files) describe(relative(project, file), () => import(file));
}
