import { currentClients } from './support/current-suite.ts';
import { HEAVY } from './support/current.ts';

currentClients(HEAVY, 1_100_000);
