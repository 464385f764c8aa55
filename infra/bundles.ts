import { build as esbuild, type BuildOptions, type Metafile, type Plugin } from 'esbuild';
import { rmSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { contentKey, madeOnce, placeMade } from './made-once.ts';

export const ROOT = join(import.meta.dirname, '..');
/** What a bundle is made of. npm writes the last one: which packages are installed. */
const SOURCES = ['functions', 'lib', 'infra/bundles.ts', 'package.json', 'node_modules/.package-lock.json'];
const CACHE = join(ROOT, 'node_modules', '.cache', 'entrepot-bundles');

/**
 * What a function loads on demand: the modules that lib/services.ts and lib/serving-services.ts import by `import()`, and the clients that come with them.
 */
const PARTS = {
  store: {
    modules: ['lib/store/s3-client.ts', 'lib/store/s3-store.ts', 'lib/store/s3-refs.ts', 'lib/store/s3-plans.ts'],
    clients: ['@aws-sdk/client-s3'],
  },
  registries: {
    modules: ['lib/registry/client.ts'],
    clients: ['undici', '@aws-sdk/client-secrets-manager', '@aws-sdk/client-ecr', '@aws-sdk/client-sts'],
  },
  workflow: {
    modules: ['lib/jobs/sfn-jobs.ts'],
    clients: ['@aws-sdk/client-sfn'],
  },
  signing: {
    modules: ['lib/access/secrets-signing-key.ts'],
    clients: ['@aws-sdk/client-secrets-manager'],
  },
  users: {
    modules: ['lib/access/secrets-users.ts'],
    clients: ['@aws-sdk/client-secrets-manager'],
  },
  fetcher: { modules: ['lib/serve/lambda-fetcher.ts'], clients: ['@aws-sdk/client-lambda'] },
  announcements: { modules: ['lib/jobs/events-announcer.ts'], clients: ['@aws-sdk/client-eventbridge'] },
} as const;
type Part = keyof typeof PARTS;
const ALL_PARTS = Object.keys(PARTS) as Part[];

/** The parts of each function. The others are left out of its bundle, so that it holds no unused client. */
const FUNCTION_PARTS: Readonly<Record<string, readonly Part[]>> = {
  api: ['store', 'workflow', 'signing'],
  registry: ['store', 'workflow', 'fetcher', 'users'],
  fetch: ['store', 'registries'],
  pull: ['store', 'registries', 'announcements'],
  plan: ['store', 'registries', 'announcements'],
  copy: ['store', 'registries'],
  publish: ['store', 'announcements'],
  fail: ['announcements'],
  oversee: ['workflow', 'announcements'],
  warmup: ['registries', 'workflow', 'announcements'],
  events: ['store', 'workflow'],
};

/** In every function, and from the start. */
export const EAGER_CLIENTS: readonly string[] = ['@aws-sdk/client-dynamodb'];

/** CommonJS packages inside an ES module ask for Node's own modules by `require`, which ES modules do not have. */
const BANNER =
  "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);";

const OPTIONS = {
  absWorkingDir: ROOT,
  // Paths stay those of this folder even if node_modules is a link, so that the bytes are the same everywhere.
  preserveSymlinks: true,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  outExtension: { '.js': '.mjs' },
  // The ES modules of the AWS SDK shake down to what is used.
  mainFields: ['module', 'main'],
  minify: true,
  // Errors keep their names: they are in logs and answers, and the state machine tells them apart.
  keepNames: true,
  sourcemap: 'linked',
  sourcesContent: false,
  banner: { js: BANNER },
  metafile: true,
  logLevel: 'warning',
} as const satisfies BuildOptions;

/** A file of a bundle: the files that it imports at once, and the packages whose code it holds. */
interface Output {
  readonly bytes: number;
  readonly imports: readonly string[];
  readonly packages: readonly string[];
}
/** The files with code, by their paths in the bundle. */
type Outputs = Readonly<Record<string, Output>>;
const OUTPUTS = 'outputs.json';

/** One function as it was bundled. */
export interface Bundle {
  readonly name: string;
  /** Absolute: `index.mjs`, `chunks/` and their source maps. */
  readonly folder: string;
  /** Of the code, without source maps. */
  readonly bytes: number;
  /** Of what the import of `index.mjs` loads. */
  readonly eagerBytes: number;
  /** Packages from npm whose code is in it. */
  readonly packages: ReadonlySet<string>;
  /** Of what the import of `index.mjs` loads. */
  readonly eagerPackages: ReadonlySet<string>;
  readonly outputs: Outputs;
  /** Packages whose code is in these files of the bundle, by their absolute paths. */
  packagesIn(files: Iterable<string>): ReadonlySet<string>;
}

/** The names of all functions, in order. */
export async function functionNames(): Promise<readonly string[]> {
  const files = await readdir(join(ROOT, 'functions'));
  return files
    .filter((file) => file.endsWith('.ts'))
    .map((file) => basename(file, '.ts'))
    .sort();
}

/**
 * Bundles every function to `<outFolder>/<name>/index.mjs`, with its chunks beside it: the folder is the content of its zip. The same
 * sources give the same bytes, and are bundled once: node_modules/.cache keeps them.
 *
 * @throws Error if a bundle holds what it must not: an unused client, a client that is loaded at start, or code of infra/ or test/.
 */
export async function bundleFunctions(outFolder: string): Promise<readonly Bundle[]> {
  const made = await madeOnce(CACHE, contentKey(ROOT, SOURCES), bundleAll);
  const outputs = JSON.parse(await readFile(join(made, OUTPUTS), 'utf8')) as Readonly<Record<string, Outputs>>;
  rmSync(outFolder, { recursive: true, force: true });
  return Object.entries(outputs).map(([name, files]) => {
    const folder = join(outFolder, name);
    placeMade(join(made, name), folder);
    return bundleOf(name, folder, files);
  });
}

async function bundleAll(outFolder: string): Promise<void> {
  const outputs: Record<string, Outputs> = {};
  for (const name of await functionNames()) outputs[name] = (await bundleFunction(name, join(outFolder, name))).outputs;
  await writeFile(join(outFolder, OUTPUTS), JSON.stringify(outputs));
}

/** One function of {@link bundleFunctions}, without the cache. */
export async function bundleFunction(name: string, folder: string): Promise<Bundle> {
  const parts = FUNCTION_PARTS[name];
  if (parts === undefined) throw new Error(`functions/${name}.ts is not in FUNCTION_PARTS of infra/bundles.ts; add it`);
  const closed = ALL_PARTS.filter((part) => !parts.includes(part));
  const { metafile } = await esbuild({
    ...OPTIONS,
    entryPoints: { index: join('functions', `${name}.ts`) },
    outdir: folder,
    splitting: true,
    chunkNames: 'chunks/[name]-[hash]',
    plugins: [HTTP_WITHOUT_UNDICI, wallUp(name, closed)],
  });
  const bundle = bundleOf(name, folder, outputsIn(folder, metafile));
  check(bundle, Object.keys(metafile.inputs), parts);
  return bundle;
}

/** For comparison alone: one file that loads everything at once, as bundlers make it by default. Works like `functions/<name>.ts`. */
export async function bundleNaively(name: string, folder: string): Promise<Bundle> {
  const parts = Object.values(PARTS);
  const modules = ['lib/config/config.ts', ...parts.flatMap((part) => part.modules)].map((module) => `./${module}`);
  const everything = [...modules, ...parts.flatMap((part) => part.clients)];
  const entry = [
    `export { handler } from './functions/${name}.ts';`,
    // Exported, so that nothing of it is shaken off.
    ...everything.map((module, index) => `export * as _${index} from '${module}';`),
  ].join('\n');
  const { metafile } = await esbuild({
    ...OPTIONS,
    stdin: { contents: entry, resolveDir: ROOT, sourcefile: 'naive.ts', loader: 'ts' },
    outfile: join(folder, 'index.mjs'),
  });
  return bundleOf(name, folder, outputsIn(folder, metafile));
}

/**
 * `node:http` as `require` gives it. An `import` of it reads every export once, `WebSocket` among them, and for that Node loads its own undici: 19 of
 * the 22 ms that this import takes by itself, 11 of 70 ms of the API's (Node 24.21; docs/performance.md). Nothing here uses WebSocket.
 */
const HTTP_WITHOUT_UNDICI: Plugin = {
  name: 'http-without-undici',
  setup(build) {
    build.onResolve({ filter: /^(node:)?http$/ }, () => ({ path: 'node:http', namespace: 'builtin' }));
    build.onLoad({ filter: /./, namespace: 'builtin' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
      loader: 'js',
    }));
  },
};

/** Makes the import of a part that was left out fail with a message, and keeps its unused client out of the bundle. */
function wallUp(name: string, closed: readonly Part[]): Plugin {
  const modules = new Map(closed.flatMap((part) => PARTS[part].modules.map((module) => [module as string, part])));
  return {
    name: 'wall-up',
    setup(build) {
      if (modules.size === 0) return;
      // The filter keeps other paths out of JavaScript: calling it for every import would take longer than the bundling.
      const names = [...modules.keys()].map((module) => basename(module).replaceAll('.', '\\.'));
      build.onResolve({ filter: new RegExp(`^\\..*/(?:${names.join('|')})$`) }, ({ kind, path, resolveDir }) => {
        const module = relative(ROOT, join(resolveDir, path));
        if (kind !== 'dynamic-import' || !modules.has(module)) return undefined;
        return { path: module, namespace: 'walled-up' };
      });
      build.onLoad({ filter: /./, namespace: 'walled-up' }, ({ path }) => {
        const part = modules.get(path) ?? '';
        const words = `function ${name} was packaged without ${part} (${path}): add it to FUNCTION_PARTS of infra/bundles.ts`;
        return { contents: `throw new Error(${JSON.stringify(words)});`, loader: 'js' };
      });
    },
  };
}

function outputsIn(folder: string, { outputs }: Metafile): Outputs {
  const pathOf = (path: string): string => relative(folder, join(ROOT, path));
  return Object.fromEntries(
    Object.entries(outputs)
      .filter(([path]) => path.endsWith('.mjs'))
      .map(([path, { bytes, imports, inputs }]): [string, Output] => {
        const atOnce = imports.filter(({ kind, external }) => kind === 'import-statement' && external !== true);
        const held = Object.entries(inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0);
        const packages = new Set(held.flatMap(([input]) => packageOf(input)));
        return [pathOf(path), { bytes, imports: atOnce.map((one) => pathOf(one.path)), packages: [...packages] }];
      }),
  );
}

function bundleOf(name: string, folder: string, outputs: Outputs): Bundle {
  const code = Object.keys(outputs);
  const eager = eagerFiles(outputs, 'index.mjs');
  const bytesOf = (paths: Iterable<string>): number =>
    [...paths].reduce((sum, path) => sum + (outputs[path]?.bytes ?? 0), 0);
  const packagesOf = (paths: Iterable<string>): ReadonlySet<string> =>
    new Set([...paths].flatMap((path) => outputs[path]?.packages ?? []));
  return {
    name,
    folder,
    bytes: bytesOf(code),
    eagerBytes: bytesOf(eager),
    packages: packagesOf(code),
    eagerPackages: packagesOf(eager),
    outputs,
    packagesIn: (files) => packagesOf([...files].map((file) => relative(folder, file))),
  };
}

/** The entry and all that it imports statically. */
function eagerFiles(outputs: Outputs, entry: string): ReadonlySet<string> {
  const eager = new Set<string>();
  const queue = [entry];
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    const output = outputs[path];
    if (output === undefined || eager.has(path)) continue;
    eager.add(path);
    queue.push(...output.imports);
  }
  return eager;
}

/** The package that a path like `node_modules/a/node_modules/@b/c/index.js` belongs to. */
const packageOf = (input: string): readonly string[] => {
  const name = /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];
  return name === undefined ? [] : [name];
};

/** A package that costs start-up time: it is loaded on demand, and only by functions that use it. */
export const isClient = (name: string): boolean => name === 'undici' || name.startsWith('@aws-sdk/client-');

function check(bundle: Bundle, inputs: readonly string[], parts: readonly Part[]): void {
  const { name } = bundle;
  const foreign = inputs.find((input) => /^(infra|test)\//.test(input));
  if (foreign !== undefined)
    throw new Error(`functions/${name}.ts leads to ${foreign}: a function must not import from ${dirname(foreign)}`);
  const mayHold = new Set([...EAGER_CLIENTS, ...parts.flatMap((part): readonly string[] => PARTS[part].clients)]);
  const unwanted = [...bundle.packages].filter((one) => isClient(one) && !mayHold.has(one));
  if (unwanted.length > 0)
    throw new Error(
      `functions/${name}.ts leads to ${unwanted.join(', ')}, which it does not use: see PARTS in infra/bundles.ts`,
    );
  const early = [...bundle.eagerPackages].filter((one) => isClient(one) && !EAGER_CLIENTS.includes(one));
  if (early.length > 0)
    throw new Error(
      `functions/${name}.ts loads ${early.join(', ')} at every cold start: import it by import() where it is used`,
    );
}
