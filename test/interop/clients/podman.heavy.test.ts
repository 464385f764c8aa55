import { clientSuite } from './support/client-suite.ts';
import { startPodman } from './support/podman.ts';

clientSuite('podman', { commands: ['podman', 'runc'], start: startPodman, mediaTypes: 'oci' });
