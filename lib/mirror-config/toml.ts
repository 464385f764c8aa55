/** The text as a basic string: https://toml.io/en/v1.0.0#string */
export function tomlString(text: string): string {
  // JSON's escapes are TOML's, but TOML does not take a bare DEL.
  return JSON.stringify(text).replaceAll('\u007f', '\\u007f');
}
