import type { Template } from '../cloudformation.ts';
import * as access from './access.ts';
import type { Check } from './check.ts';
import * as operations from './operations.ts';
import * as storage from './storage.ts';

/** Every property that a template of ours must have, by its name. */
export const CHECKS: Readonly<Record<string, Check>> = { ...storage, ...access, ...operations };

/** What of the template contradicts them; nothing where all hold. */
export const violations = (template: Template): readonly string[] =>
  Object.entries(CHECKS).flatMap(([name, check]) => check(template).map((words) => `${words} (${name})`));
