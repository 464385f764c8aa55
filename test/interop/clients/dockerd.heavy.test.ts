import { clientSuite } from './support/client-suite.ts';
import { startDocker } from './support/dockerd.ts';

// It unpacks neither zstd nor attestations.
clientSuite('dockerd', { commands: [], start: startDocker, mediaTypes: 'docker', signsInToMirrors: false });
