import { clientSuite } from './support/client-suite.ts';
import { startSkopeo } from './support/skopeo.ts';

clientSuite('skopeo', { commands: ['skopeo'], start: startSkopeo, mediaTypes: 'oci' });
