import { tableOf } from './upstream-table.ts';
import { ENTREPOTS } from './upstream-registries.ts';

/** What the `docker-registry` behind it refuses. */
const REFUSED = { sparse: /: 400 .*MANIFEST_BLOB_UNKNOWN/ };

for (const [name, start] of Object.entries(ENTREPOTS)) tableOf(name, start, REFUSED);
