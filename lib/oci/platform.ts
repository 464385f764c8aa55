import { InvalidRequestError } from '../errors/cache-error.ts';

/** `os.version` and `os.features` are ignored on purpose (docs/design.md, section 1). */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

const PART = /^[a-z0-9][a-z0-9._-]{0,63}$/;

/** Names that mean the same architecture, as containerd normalises them (platforms/database.go). */
const ARCHITECTURE_ALIASES: ReadonlyMap<string, Pick<Platform, 'architecture' | 'variant'>> = new Map([
  ['x86_64', { architecture: 'amd64' }],
  ['x86-64', { architecture: 'amd64' }],
  ['aarch64', { architecture: 'arm64' }],
  ['i386', { architecture: '386' }],
  ['i686', { architecture: '386' }],
  ['armhf', { architecture: 'arm', variant: 'v7' }],
  ['armel', { architecture: 'arm', variant: 'v6' }],
]);

/** The variant that an architecture means when it names none, where nobody writes it. */
const DEFAULT_VARIANTS: ReadonlyMap<string, string> = new Map([
  ['arm64', 'v8'],
  ['amd64', 'v1'],
]);
/** That of `arm` is written: there are images of several. containerd means it, too (platforms/database.go). */
const ARM_VARIANT = 'v7';

/** The variant that offered content has, said or meant. */
const variantOf = ({ architecture, variant }: Platform): string | undefined =>
  variant ?? (architecture === 'arm' ? ARM_VARIANT : DEFAULT_VARIANTS.get(architecture));

/** Lower case and aliases resolved. A variant that was said is kept, one that was not is not invented. */
export function normalisePlatform(platform: Platform): Platform {
  const os = platform.os.toLowerCase() === 'macos' ? 'darwin' : platform.os.toLowerCase();
  const named = platform.architecture.toLowerCase();
  const alias = ARCHITECTURE_ALIASES.get(named);
  const architecture = alias?.architecture ?? named;
  const variant = (platform.variant ?? '').toLowerCase() || alias?.variant;
  if (variant === undefined) return { os, architecture };
  return { os, architecture, variant: /^\d+$/.test(variant) ? `v${variant}` : variant };
}

/**
 * The platform in `os/arch[/variant]`, normalised.
 *
 * @throws InvalidRequestError naming `field` and the form.
 */
export function parsePlatform(text: string, field = 'platforms'): Platform {
  const parts = text.toLowerCase().split('/');
  const [os, architecture, variant] = parts;
  const whole = os !== undefined && architecture !== undefined && parts.length <= 3;
  if (!whole || !parts.every((part) => PART.test(part))) {
    throw new InvalidRequestError(field, `platform ${JSON.stringify(text.slice(0, 200))}: ${whatToWrite(text, field)}`);
  }
  return normalisePlatform(variant === undefined ? { os, architecture } : { os, architecture, variant });
}

/** Several in one text, as other tools take them, are written one by one here: as an option that comes again, or as the items of a list. */
function whatToWrite(text: string, field: string): string {
  const several = text.split(/[\s,;|+]+/).filter((part) => part !== '');
  if (several.length < 2 || several.length > 20 || !several.every((part) => part.includes('/'))) {
    return 'write it as os/architecture[/variant], for example linux/amd64 or linux/arm/v7';
  }
  if (!field.startsWith('--')) return `write a list: ${JSON.stringify(several).slice(0, 400)}`;
  return `write the option once for each: ${several
    .map((part) => `${field} ${part}`)
    .join(' ')
    .slice(0, 400)}`;
}

/** `os/arch[/variant]`, normalised, without the variant that the architecture means anyway: equal platforms give equal strings. */
export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = normalisePlatform(platform);
  return variant === undefined || variant === DEFAULT_VARIANTS.get(architecture)
    ? `${os}/${architecture}`
    : `${os}/${architecture}/${variant}`;
}

/**
 * Whether content for `offered` answers a request for `wanted`: same system and architecture, and the same variant where one is wanted.
 * `linux/arm64` takes every variant of arm64; `linux/arm64/v8` takes those that say v8 and those that say none, as `linux/arm/v7` does with v7.
 */
export function matchesPlatform(wanted: Platform, offered: Platform): boolean {
  const want = normalisePlatform(wanted);
  const offer = normalisePlatform(offered);
  if (want.os !== offer.os || want.architecture !== offer.architecture) return false;
  return want.variant === undefined || want.variant === variantOf(offer);
}
