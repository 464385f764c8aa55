/** Whether the terminal can move its cursor, as far as the environment says. */
export const hasCursor = (environment: { readonly TERM?: string | undefined } = process.env): boolean =>
  environment.TERM !== 'dumb';
