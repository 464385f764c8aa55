import { tableOf, type Refusals } from './upstream-table.ts';
import { running, REGISTRIES } from './upstream-registries.ts';

/** What an upstream does not take by its own rules: its words, by upstream and image. What is not here is pushed and pulled. */
const REFUSED: Readonly<Record<string, Refusals>> = {
  'docker-registry': { sparse: /: 400 .*MANIFEST_BLOB_UNKNOWN/ },
  'crane registry serve': { sparse: /: 404 .*MANIFEST_UNKNOWN/ },
};

/** `UPSTREAM=http://127.0.0.1:PORT npm run interop -- upstreams`: the table of that registry alone, which takes pushes from anyone. */
const { UPSTREAM: origin } = process.env;

if (origin !== undefined) tableOf(origin, () => running(origin), 'any');
else for (const [name, start] of Object.entries(REGISTRIES)) tableOf(name, start, REFUSED[name]);
