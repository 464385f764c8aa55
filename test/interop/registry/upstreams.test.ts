import { tableOf, type Refusals } from './upstream-table.ts';
import { running, UPSTREAMS } from './upstream-registries.ts';

/** Debian's wants all that an index names, as does whatever stands before it; version 3 is told not to. */
const WANTS_ENTRIES = { sparse: /: 400 .*MANIFEST_BLOB_UNKNOWN/ };

/** What an upstream does not take by its own rules: its words, by upstream and image. What is not here is pushed and pulled. */
const REFUSED: Readonly<Record<string, Refusals>> = {
  'docker-registry': WANTS_ENTRIES,
  'crane registry serve': { sparse: /: 404 .*MANIFEST_UNKNOWN/ },
  'Entrepot as the endpoint': WANTS_ENTRIES,
  'Entrepot as a mirror': WANTS_ENTRIES,
};

/** `UPSTREAM=http://127.0.0.1:PORT npm run interop -- upstreams`: the table of that registry alone, which takes pushes from anyone. */
const { UPSTREAM: origin } = process.env;

if (origin !== undefined) tableOf(origin, () => running(origin), 'any');
else for (const [name, start] of Object.entries(UPSTREAMS)) tableOf(name, start, REFUSED[name]);
