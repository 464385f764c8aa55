import type { Check } from './dynamo-table.ts';
import { SWEEP_KEY } from './keys.ts';

/** Nothing that an image may need was swept, or found to be lost, since the epoch was read. */
export const epochUnchanged = (epoch: number): Check => ({
  key: SWEEP_KEY,
  condition: 'attribute_not_exists(epoch) OR epoch = :epoch',
  values: { ':epoch': epoch },
});
