import type { Template } from '../cloudformation.ts';
import * as access from './access.ts';
import type { Check } from './check.ts';
import * as operations from './operations.ts';
import * as storage from './storage.ts';

/** Every property that our templates must have, by name. */
export const CHECKS: Readonly<Record<string, Check>> = { ...storage, ...access, ...operations };

/** The problems of the template. */
export const violations = (template: Template): readonly string[] =>
  Object.entries(CHECKS).flatMap(([name, check]) => check(template).map((words) => `${words} (${name})`));
