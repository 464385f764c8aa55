import { S3Error } from './errors.ts';

/** One element of a parsed document: its children in order, and the text directly in it. */
export interface XmlElement {
  readonly name: string;
  readonly children: XmlElement[];
  text: string;
}

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', '\r': '&#13;' };
const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
const MAX_DEPTH = 8;

/** One element with escaped text; empty without a value. */
export function leaf(name: string, value: string | number | boolean | undefined): string {
  if (value === undefined) return '';
  return `<${name}>${String(value).replace(/[&<>"\r]/g, (char) => ESCAPES[char] ?? char)}</${name}>`;
}

/** One element around XML. */
export function branch(name: string, ...children: readonly string[]): string {
  return `<${name}>${children.join('')}</${name}>`;
}

/** A whole document in S3's namespace. */
export function xmlDocument(name: string, ...children: readonly string[]): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${children.join('')}</${name}>`;
}

/**
 * Parses the small documents that S3 accepts: elements and text; attributes are skipped.
 *
 * @throws S3Error MalformedXML; also for a DOCTYPE, CDATA or anything nested deeper than S3's own documents.
 */
export function parseXml(source: string, rootName: string): XmlElement {
  const top: XmlElement = { name: '', children: [], text: '' };
  const open = [top];
  const token = /<\?[^>]*\?>|<!--[\s\S]*?-->|<(\/?)([A-Za-z_][\w.:-]*)(?:\s[^<>]*?)?(\/?)>|([^<]+)/gy;
  let end = 0;
  for (const match of source.matchAll(token)) {
    end = match.index + match[0].length;
    const inside = open.at(-1) ?? top;
    const [, closing, name, empty, text] = match;
    if (text !== undefined) inside.text += decodeEntities(text);
    else if (name === undefined) continue;
    else if (closing === '/') {
      if (inside.name !== name || open.length === 1) throw malformed();
      open.pop();
    } else {
      const child: XmlElement = { name, children: [], text: '' };
      inside.children.push(child);
      if (empty === '/') continue;
      open.push(child);
      if (open.length > MAX_DEPTH) throw malformed();
    }
  }
  const root = top.children[0];
  if (end !== source.length || open.length !== 1 || top.children.length !== 1 || root?.name !== rootName) {
    throw malformed();
  }
  return root;
}

/** The text of the named child, or undefined. */
export function childText(element: XmlElement, name: string): string | undefined {
  return element.children.find((child) => child.name === name)?.text;
}

/** S3's error for a malformed document. */
export function malformed(): S3Error {
  return new S3Error(
    'MalformedXML',
    'The XML you provided was not well-formed or did not validate against our published schema',
  );
}

function decodeEntities(text: string): string {
  return text.replace(/&([^;\s]{0,10});?/g, (_, name: string) => {
    const char = ENTITIES[name];
    if (char !== undefined) return char;
    const number = /^#(?:x([0-9a-f]+)|([0-9]+))$/i.exec(name);
    const codePoint = Number.parseInt(number?.[1] ?? number?.[2] ?? '', number?.[1] === undefined ? 10 : 16);
    if (!(codePoint >= 1 && codePoint <= 0x10ffff)) throw malformed();
    return String.fromCodePoint(codePoint);
  });
}
