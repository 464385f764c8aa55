import { currentClients } from './support/current-suite.ts';
import { LIGHT } from './support/current.ts';

currentClients(LIGHT, 280_000);
