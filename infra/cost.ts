/*
 * Writes docs/cost.md from infra/cost/counts.json and infra/cost/prices.json: the second half of `npm run cost`.
 */
import { writeFile } from 'node:fs/promises';
import { COST_PAGE, renderCostPage } from './cost/page.ts';

await writeFile(COST_PAGE, await renderCostPage());
