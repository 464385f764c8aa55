import { loadConfig, type Config } from '../../lib/config/config.ts';

/**
 * The configuration as it will run on AWS: from the file `named`, or `entrepot.yaml` (`entrepot.yml`) in the folder. Nothing else of the environment counts.
 *
 * @throws ConfigError that lists every problem.
 */
export const packageConfig = (folder: string, named: string | undefined): Config =>
  loadConfig({ ENTREPOT_CONFIG: named }, folder, { target: 'aws' });
