#!/usr/bin/env node
import { launch } from './launch.js';

await launch('kubelet-credential-entrepot.ts');
