import { elsewhere } from './elsewhere.ts';

elsewhere();
