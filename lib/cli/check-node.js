// The last step of `npm ci`: npm's scripts run on a Node 24 of ours or of the user's, or the reason why not is said here, once.
import { findNode } from './launch.js';

try {
  findNode();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
