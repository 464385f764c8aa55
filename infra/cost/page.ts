import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import {
  COPY_MEGABYTES_PER_SECOND,
  HIT_SECONDS,
  HOURS_PER_MONTH,
  IMAGE,
  LOG_BYTES,
  MOST_WAITED_SECONDS,
  PLAN_SECONDS,
  PUBLISH_SECONDS,
  PULL_REQUESTS,
  TEAMS,
} from './assumptions.ts';
import type { Counts, Requests } from './counts.ts';
import {
  BASE_LINES,
  billOf,
  ecrMonth,
  EXTRA_LINES,
  hitUsage,
  idleBill,
  monthlyBill,
  sampleMissUsage,
  servedUsage,
  serverMonth,
  sumOf,
  times,
  type Usage,
  usualMissUsage,
  warmupUsage,
} from './model.ts';
import type { PriceTable } from './prices.ts';

const PER = 1_000;

/** docs/cost.md, before it is formatted. */
export function costPage(table: PriceTable, counts: Counts): string {
  const sections = [
    perThousand(table, counts),
    requestCounts(counts),
    months(table, counts),
    assumed(counts),
    priceList(table),
  ];
  const [title = '', ...introduction] = intro(table, counts).split('\n');
  return [title, contentsOf(sections), introduction.join('\n'), ...sections].join('\n\n');
}

/** Links to the sections, by the anchors that GitHub gives them. */
const contentsOf = (sections: readonly string[]): string =>
  ['**Contents**', '', ...sections.map(headingOf).map((heading) => `- [${heading}](#${slugOf(heading)})`)].join('\n');

const headingOf = (section: string): string => (section.split('\n', 1)[0] ?? '').replace('## ', '');

const slugOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\w -]/g, '')
    .replaceAll(' ', '-');

const tableOf = (heads: readonly string[], rows: readonly (readonly string[])[]): string =>
  [heads, heads.map((_, i) => (i === 0 ? '---' : '--:')), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');

const grouped = (value: number, digits = 0): string =>
  value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
const dollars = (usd: number): string => (usd > 0 && usd < 0.005 ? '< 0.01' : grouped(usd, 2));
/** Small amounts with two significant digits. */
function small(usd: number): string {
  if (usd === 0) return '0';
  if (usd < 0.0001) return '< 0.0001';
  return usd.toFixed(usd >= 0.1 ? 2 : 4);
}

function intro({ region, asOf }: PriceTable, { countedOn }: Counts): string {
  return `# Cost

Made by \`npm run cost\` from requests that were counted (${countedOn}, \`infra/cost/counts.json\`) and one price table (${region}, list prices as of ${asOf}, \`infra/cost/prices.json\`). Do not edit: change those, or the assumptions in
\`infra/cost/assumptions.ts\`, and run it again. A test compares this page with what they give.

US dollars, without tax, free tiers and discounts. The free tiers cover most of a small team's requests.`;
}

function perThousand(table: PriceTable, counts: Counts): string {
  const columns: readonly (readonly [string, Usage])[] = [
    ['hits', hitUsage(counts)],
    ['pulls of a usual image by a client', servedUsage(counts)],
    ['misses of the sample image', sampleMissUsage(counts)],
    [`misses of a usual image`, usualMissUsage(counts)],
    ['warm-ups of one unchanged entry', warmupUsage(counts, 1)],
    ['unchanged entries of one warm-up', times(1 / PER, warmupUsage(counts, PER))],
  ];
  const bills = columns.map(([, usage]) => billOf(table, times(PER, usage)));
  const lines = [...BASE_LINES, ...EXTRA_LINES].filter((line) => bills.some((bill) => (bill.get(line) ?? 0) > 0));
  const base = lines.filter((line) => BASE_LINES.includes(line));
  const extra = lines.filter((line) => EXTRA_LINES.includes(line));
  const rowOf = (line: string): string[] => [line, ...bills.map((bill) => small(bill.get(line) ?? 0))];
  const sumRow = (title: string, of: readonly string[]): string[] => [
    `**${title}**`,
    ...bills.map((bill) => `**${small(sumOf(bill, of))}**`),
  ];
  return `## Per 1,000

${tableOf(
  ['', ...columns.map(([title]) => `1,000 ${title}`)],
  [...base.map(rowOf), sumRow('sum', base), ...extra.map(rowOf), sumRow('with all of these', lines)],
)}

One of them is a thousandth. A usual image is one platform of ${IMAGE.megabytes} MB in ${IMAGE.blobs} blobs, together ${IMAGE.parts} parts; the sample image has two platforms with attestations, ${counts.sample.blobs} blobs and ${grouped(counts.sample.bytes / 1_000_000)} MB. What a miss costs grows with its parts (one PUT each) and its time: that of the functions that copy, and
of the one that waits for them (a caller that sends \`Prefer: wait=0\` saves that). Of the pull by a client every request is counted as one to a process that has nothing in its memory. A warm-up is one run of a schedule; an entry that did change costs a miss besides. Traffic from registries into AWS is free.`;
}

function requestCounts(counts: Counts): string {
  const rows: readonly (readonly [string, Requests])[] = [
    ['hit', counts.hit],
    ['registry endpoint: manifest by tag', counts.served.tag],
    ['… by digest', counts.served.manifest],
    ['… blob, the redirect', counts.served.blob],
    ['miss of the sample image', counts.miss],
    ['… each further blob', counts.missBlob],
    ['… each further part', counts.missPart],
    ['warm-up run', counts.warmupRun],
    ['… each entry, unchanged', counts.warmupEntry],
  ];
  const figure = (value: number): string => String(value);
  return `## Requests

${tableOf(
  [
    '',
    'DynamoDB',
    'read units',
    'write units',
    'S3 PUT, POST, LIST',
    'S3 GET, HEAD',
    'registry',
    'transitions',
    'functions',
    'events',
  ],
  rows.map(([name, one]) => [
    name,
    ...[one.dynamoDbRequests, one.readUnits, one.writeUnits, one.s3Writes, one.s3Reads].map(figure),
    ...[one.registryRequests, one.transitions].map(figure),
    figure(Object.values(one.invocations).reduce((sum, count) => sum + count, 0)),
    figure(one.events),
  ]),
)}

Counted on the embedded stack, with the state machine and the tasks of the application. Read and write units are those that the embedded DynamoDB says it consumed. Retries, waits for a lock, renewals of leases (one write each five seconds and lease) and looks of a waiting caller (one read a second) come on top where a pull takes long.`;
}

function months(table: PriceTable, counts: Counts): string {
  const bills = TEAMS.map((team) => monthlyBill(table, counts, team));
  const amounts = (figures: readonly number[]): string[] => figures.map(dollars);
  const rowOf = (line: string): string[] => [line, ...amounts(bills.map((bill) => bill.get(line) ?? 0))];
  const bold = (cells: readonly string[]): string[] => cells.map((cell) => `**${cell}**`);
  const given = (title: string, of: (team: (typeof TEAMS)[number]) => string): string[] => [title, ...TEAMS.map(of)];
  return `## Per month

${tableOf(
  ['', ...TEAMS.map(({ name }) => name)],
  [
    given('who', ({ people }) => people),
    given('hits', ({ hits }) => grouped(hits)),
    given('pulls of usual images by clients', ({ served }) => grouped(served)),
    given('misses of usual images', ({ misses }) => grouped(misses)),
    given('warm-up runs × entries', (team) => `${grouped(team.warmupRuns)} × ${grouped(team.warmupEntries)}`),
    given('stored', ({ storedGb }) => `${grouped(storedGb)} GB`),
    given('read by another region', ({ crossRegionGb }) => `${grouped(crossRegionGb)} GB`),
  ],
)}

${tableOf(
  ['dollars a month', ...TEAMS.map(({ name }) => name)],
  [
    ...BASE_LINES.map(rowOf),
    bold(['Entrepot', ...amounts(bills.map((bill) => sumOf(bill, BASE_LINES)))]),
    ...EXTRA_LINES.map(rowOf),
    bold(['Entrepot with all of these', ...amounts(bills.map((bill) => sumOf(bill)))]),
    ['ECR pull-through cache, egress included', ...amounts(TEAMS.map((team) => ecrMonth(table, team)))],
    ['a t4g.small with its disk, egress included', ...amounts(TEAMS.map((team) => serverMonth(table, team)))],
  ],
)}

A stack that nobody asks costs ${dollars(sumOf(idleBill(table, counts), BASE_LINES))} a month: its metrics, alarms and dashboard, two secrets, a look every five minutes, and Lambda’s looks into the queue of deletions.

What the figures do not show:

- **ECR pull-through** is there already, and its requests cost nothing. It knows a list of upstreams, asks them again at most once a day, and stores at ${(table.prices.ecrGbMonth.usd / table.prices.s3GbMonth.usd).toFixed(1)} times the price.
- **The server** is one machine in one zone with two burstable cores and a disk that is as large as its content: when it is down, nothing is pulled. The work of updating and watching it is not in its price.
- **Entrepot** stores each blob once for all repositories. A client that pulls a cached image makes ${PULL_REQUESTS.pings + PULL_REQUESTS.tags + PULL_REQUESTS.manifests} requests and one for each blob, which it then reads from the bucket; one that has most layers already makes few. With a load balancer as the endpoint its hours and capacity units take the place of the HTTP API's requests; they are not in the table. Functions are in no VPC, so there is no NAT gateway to pay.`;
}

function assumed(counts: Counts): string {
  return `## What is assumed

No request tells how long functions run on AWS. Until a deployed stack shows it: a hit and a request of the registry endpoint ${HIT_SECONDS * 1000} ms, plan ${PLAN_SECONDS} s, publish ${PUBLISH_SECONDS} s, a copying function ${COPY_MEGABYTES_PER_SECOND} MB/s, all in one batch; \`POST /v1/pull\` waits for the end, up to ${MOST_WAITED_SECONDS} s; ${grouped(LOG_BYTES)} bytes of logs
for each invocation; ${HOURS_PER_MONTH} hours a month. There are ${counts.customMetrics} metrics of our own, and alarms watch ${counts.alarmMetrics}. KMS is asked by S3 for one request in a hundred (bucket key), and by DynamoDB every five minutes for each function. CloudTrail counts each request to S3 and DynamoDB, if both are recorded.`;
}

function priceList({ prices, region, asOf }: PriceTable): string {
  const rows = Object.values(prices).map(({ usd, unit, page, confirmed }) => {
    const host = new URL(page).pathname.split('/').find((segment) => segment !== '') ?? page;
    return [`${unit}${confirmed ? '' : ' †'}`, plain(usd), `[${host}](${page})`];
  });
  return `## Prices

${region}, as of ${asOf}. † written down from memory: look at the page before you rely on it.

${tableOf(['one', 'dollars', 'page'], rows)}`;
}

/** Without an exponent. */
const plain = (usd: number): string => usd.toFixed(12).replace(/0+$/, '').replace(/\.$/, '');

export const COST_PAGE = fileURLToPath(new URL('../../docs/cost.md', import.meta.url));

/** The page as it must be in the repository: made from the two JSON files and the assumptions, formatted. */
export async function renderCostPage(): Promise<string> {
  const [prices, counts] = await Promise.all(['prices.json', 'counts.json'].map(readJson));
  const page = costPage(prices as PriceTable, counts as Counts);
  return await format(page, { ...(await resolveConfig(COST_PAGE)), parser: 'markdown', proseWrap: 'always' });
}

const readJson = async (name: string): Promise<unknown> =>
  JSON.parse(await readFile(new URL(name, import.meta.url), 'utf8')) as unknown;
