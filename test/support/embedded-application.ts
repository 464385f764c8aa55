import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { startApplication, type LocalApplication } from '../../infra/local/app/application.ts';
import { createHome, homeAt } from '../../infra/local/home.ts';
import { loadConfig } from '../../lib/config/config.ts';
import { startStack } from './stack.ts';

/** `entrepot local --all` in this process; only the functions are processes. */
export async function startEmbeddedApplication(configuration: object): Promise<LocalApplication> {
  await using resources = new AsyncDisposableStack();
  const stack = resources.use(await startStack());
  const home = join(stack.root, 'home');
  createHome(homeAt(home));
  const file = join(home, 'entrepot.yaml');
  await writeFile(file, stringify(configuration));
  const config = loadConfig({ ENTREPOT_CONFIG: file }, home);
  const callerArn = 'arn:aws:iam::000000000000:user/local';
  const { origin, environment } = resources.use(await startApplication({ home, stack, config, port: 0, callerArn }));
  const running = resources.move();
  return { origin, environment, [Symbol.asyncDispose]: () => running.disposeAsync() };
}
