/* The kill test with more moments than anyone waits for. */
process.env.KILL_SEEDS ??= '100';
await import('../faults/kill.test.ts');
