/** One is singular, more are plural: EventBridge's rules insist on it. */
const RATE = /^rate\((?:1 (?:minute|hour|day)|(?!1 )[1-9]\d{0,5} (?:minutes|hours|days))\)$/;
const CRON = /^cron\(([^()]*)\)$/;
const MONTHS = ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC'];
const DAYS = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'];

/** One of the six fields of a cron expression: https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#cron-based */
interface CronField {
  readonly name: string;
  readonly min: number;
  readonly max: number;
  /** Stand for `min`, `min + 1`, … */
  readonly words?: readonly string[];
  /** Forms of a day that only this field has. */
  readonly special?: RegExp;
}

const FIELDS: readonly CronField[] = [
  { name: 'minutes', min: 0, max: 59 },
  { name: 'hours', min: 0, max: 23 },
  { name: 'day of month', min: 1, max: 31, special: /^(?:\?|L|LW|(?:[1-9]|[12]\d|3[01])W)$/ },
  { name: 'month', min: 1, max: 12, words: MONTHS },
  {
    name: 'day of week',
    min: 1,
    max: 7,
    words: DAYS,
    special: /^(?:\?|L|[1-7]L|(?:[1-7]|SUN|MON|TUE|WED|THU|FRI|SAT)#[1-5])$/,
  },
  { name: 'year', min: 1970, max: 2199 },
];

/**
 * The schedule as it was written, if EventBridge Scheduler would take it: `rate(6 hours)`, `cron(0 3 * * ? *)`.
 *
 * @throws Error saying which part is wrong.
 */
export function parseSchedule(value: string): string {
  if (RATE.test(value)) return value;
  const fields = CRON.exec(value)?.[1]?.trim().split(/\s+/);
  if (fields === undefined) {
    throw new Error(`${shown(value)} is not a schedule; write rate(1 hour), rate(6 hours) or cron(0 3 * * ? *)`);
  }
  if (fields.length !== FIELDS.length) {
    throw new Error(
      `${shown(value)} has ${fields.length} fields; a cron expression has 6: minutes, hours, day of month, month, day of week, year, for example cron(0 3 * * ? *)`,
    );
  }
  for (const [index, field] of FIELDS.entries()) checkField(field, fields[index] ?? '');
  const unset = [fields[2], fields[4]].filter((days) => days === '?').length;
  if (unset !== 1) {
    throw new Error(
      `${shown(value)}: exactly one of day of month and day of week must be "?", for example cron(0 3 * * ? *)`,
    );
  }
  return value;
}

function checkField(field: CronField, text: string): void {
  if (
    text
      .toUpperCase()
      .split(',')
      .every((item) => isItem(field, item))
  )
    return;
  throw new Error(
    `${shown(text)} cannot be the ${field.name} of a cron expression; write numbers from ${field.min} to ${field.max}, "*", lists (a,b), ranges (a-b) or steps (a/b)`,
  );
}

/** A number or word, `*`, a range, or one of these with a step. */
function isItem(field: CronField, item: string): boolean {
  if (field.special?.test(item) === true) return true;
  const [, base, from = '', to, step] = /^(\*|(\w+)(?:-(\w+))?)(?:\/(\d{1,4}))?$/.exec(item) ?? [];
  if (base === undefined || step === '0') return false;
  if (base === '*') return true;
  const first = valueOf(field, from);
  return first !== undefined && (to === undefined || (valueOf(field, to) ?? -1) >= first);
}

function valueOf({ min, max, words = [] }: CronField, text: string): number | undefined {
  const word = words.indexOf(text);
  const value = word >= 0 ? min + word : /^\d{1,4}$/.test(text) ? Number(text) : NaN;
  return value >= min && value <= max ? value : undefined;
}

/**
 * The IANA name of a time zone, in its own spelling.
 *
 * @throws Error if there is none of that name.
 */
export function parseTimeZone(value: string): string {
  const unknown = (cause?: unknown): Error =>
    new Error(`${shown(value)} is not a time zone; write an IANA name, for example Europe/Berlin or UTC`, { cause });
  // Intl takes offsets such as +01:00, too; the scheduler does not.
  if (!/^[A-Za-z]/.test(value)) throw unknown();
  let canonical: string;
  try {
    canonical = new Intl.DateTimeFormat('en', { timeZone: value }).resolvedOptions().timeZone;
  } catch (cause) {
    throw unknown(cause);
  }
  // Intl ignores case, and may answer with another name for the same zone: that one would surprise whoever reads the schedule.
  return canonical.toLowerCase() === value.toLowerCase() ? canonical : value;
}

const shown = (value: string): string => JSON.stringify(value.slice(0, 100));
