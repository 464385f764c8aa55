import { clientSuite } from './support/client-suite.ts';
import { startCtr } from './support/containerd.ts';

clientSuite('containerd', { commands: ['containerd', 'ctr', 'runc'], start: startCtr, mediaTypes: 'oci' });
