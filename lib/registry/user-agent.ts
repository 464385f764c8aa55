import manifest from '../../package.json' with { type: 'json' };

/** How we introduce ourselves to registries: `entrepot/0.1.0`. */
export const USER_AGENT = `entrepot/${manifest.version}`;
