import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import type { Counts } from './counts.ts';
import { costPage } from './page.ts';
import type { PriceTable } from './prices.ts';

export const COST_PAGE = fileURLToPath(new URL('../../docs/cost.md', import.meta.url));

/** The page as it must be in the repository: what the two JSON files and the assumptions give, formatted as everything here. */
export async function renderCostPage(): Promise<string> {
  const [prices, counts] = await Promise.all(['prices.json', 'counts.json'].map(readJson));
  const page = costPage(prices as PriceTable, counts as Counts);
  return await format(page, { ...(await resolveConfig(COST_PAGE)), parser: 'markdown' });
}

const readJson = async (name: string): Promise<unknown> =>
  JSON.parse(await readFile(new URL(name, import.meta.url), 'utf8')) as unknown;
