/** The forms in which a secret may leak: plain, escaped, hex, and base64 at any offset. */
export function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const base64 = [0, 1, 2].map((shift) =>
    Buffer.concat([Buffer.alloc(shift), bytes])
      .toString('base64')
      .replace(/=+$/, '')
      .slice(shift === 0 ? 0 : 4, -2),
  );
  return [secret, encodeURIComponent(secret), bytes.toString('hex'), ...base64];
}

/** The first form of a secret that the text contains. */
export const canaryIn = (secrets: readonly string[], text: string): string | undefined =>
  secrets.flatMap(formsOf).find((form) => text.includes(form));

/** The text of an error, its causes and their stacks. */
export function textOfError(error: unknown): string {
  const texts: string[] = [];
  for (let one = error; one instanceof Error; one = one.cause) texts.push(one.message, String(one.stack), String(one));
  return texts.join('\n');
}
