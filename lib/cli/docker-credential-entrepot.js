#!/usr/bin/env node
import { launch } from './launch.js';

await launch('./credential-helper/docker-credential-entrepot.ts');
