import { ConfigError } from '../errors/cache-error.ts';

type Path = readonly PropertyKey[];

/** Collects all problems of a configuration, so that one error lists them all. */
export interface Problems {
  /** `where` is a variable's name, or the path within the file. */
  add(where: string | Path, what: string): void;
  /** @throws ConfigError that lists every problem, if there is one. `source` is the file, where one was read. */
  throwIfAny(source: string | undefined): void;
}

export function problems(): Problems {
  const found = new Set<string>();
  return {
    add(where, what) {
      found.add(`${typeof where === 'string' ? where : formatPath(where)}: ${what}`);
    },
    throwIfAny(source) {
      if (found.size === 0) return;
      const count = found.size === 1 ? '1 problem' : `${found.size} problems`;
      const title = `the configuration${source === undefined ? '' : ` (${source})`} has ${count}`;
      throw new ConfigError([title, ...found].join('\n  '));
    },
  };
}

/** `registries."docker.io".mirrors[0]`. The empty path is the whole file. */
function formatPath(path: Path): string {
  if (path.length === 0) return 'the file';
  return path
    .map((key, index) => {
      if (typeof key === 'number') return `[${key}]`;
      const name = String(key);
      const shown = /^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name.slice(0, 300));
      return index === 0 ? shown : `.${shown}`;
    })
    .join('');
}
