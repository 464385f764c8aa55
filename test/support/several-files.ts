import { createRequire } from 'node:module';
import { describe } from 'node:test';
import { relative } from 'node:path';

const require = createRequire(import.meta.url);

/** Runs test files one after the other in this process, each as a suite with its own hooks. */
export function severalFiles(project: string, files: readonly string[]): void {
  // Not by import: a suite collects the tests that are defined while it is called.
  for (const file of files) describe(relative(project, file), () => void require(file));
}
