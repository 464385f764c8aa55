// The last step of `npm ci`: fails with a reason if there is no Node 24 for npm's scripts.
import { findNode } from './launch.js';

try {
  findNode();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
