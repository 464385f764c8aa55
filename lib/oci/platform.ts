import { InvalidRequestError } from '../errors/cache-error.ts';

/** `os.version` and `os.features` are ignored on purpose (docs/design.md, section 1). */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

const PART = /^[a-z0-9][a-z0-9._-]{0,63}$/;

/** Other names of architectures, as containerd normalises them (platforms/database.go). */
const ARCHITECTURE_ALIASES: ReadonlyMap<string, Pick<Platform, 'architecture' | 'variant'>> = new Map([
  ['x86_64', { architecture: 'amd64' }],
  ['x86-64', { architecture: 'amd64' }],
  ['aarch64', { architecture: 'arm64' }],
  ['i386', { architecture: '386' }],
  ['i686', { architecture: '386' }],
  ['armhf', { architecture: 'arm', variant: 'v7' }],
  ['armel', { architecture: 'arm', variant: 'v6' }],
]);

/** The default variant of an architecture, which names leave out. */
const DEFAULT_VARIANTS: ReadonlyMap<string, string> = new Map([
  ['arm64', 'v8'],
  ['amd64', 'v1'],
]);
/** The default of `arm`, as in containerd. Names include it, because images of several variants exist. */
const ARM_VARIANT = 'v7';

/** The variant of offered content, stated or by default. */
const variantOf = ({ architecture, variant }: Platform): string | undefined =>
  variant ?? (architecture === 'arm' ? ARM_VARIANT : DEFAULT_VARIANTS.get(architecture));

/** In lower case, aliases resolved. A stated variant is kept; no default is added. */
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

/** Other tools take several platforms in one text. Here they are a repeated option or a list. */
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

/** `os/arch[/variant]`, normalised, without a default variant: equal platforms give equal strings. */
export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = normalisePlatform(platform);
  return variant === undefined || variant === DEFAULT_VARIANTS.get(architecture)
    ? `${os}/${architecture}`
    : `${os}/${architecture}/${variant}`;
}

/**
 * Whether content for `offered` satisfies a request for `wanted`: same system and architecture, and the same variant if one is wanted.
 * `linux/arm64` matches every variant of arm64; `linux/arm64/v8` matches v8 and no variant. `linux/arm/v7` works the same way.
 */
export function matchesPlatform(wanted: Platform, offered: Platform): boolean {
  const want = normalisePlatform(wanted);
  const offer = normalisePlatform(offered);
  if (want.os !== offer.os || want.architecture !== offer.architecture) return false;
  return want.variant === undefined || want.variant === variantOf(offer);
}
