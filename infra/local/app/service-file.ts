import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import type { Application } from '../../application.ts';
import { ROOT } from '../../bundles.ts';
import { DEFAULT_PATH, type Route } from './gateway.ts';

/** The properties of a function in serverless.yml that matter for running it. */
export interface ServiceFunction {
  readonly name: string;
  readonly timeoutMs: number;
  readonly memoryMiB: number;
  /** Undefined: nothing is reserved. */
  readonly reservedConcurrency: number | undefined;
}

/** The content of serverless.yml. */
export interface ServiceFile {
  readonly functions: readonly ServiceFunction[];
  readonly routes: readonly Route[];
  /** Environment variables of every function. Intrinsic functions of CloudFormation are still objects. */
  readonly environment: Readonly<Record<string, unknown>>;
}

type Section = Readonly<Record<string, unknown>>;

/** `${file(./infra/serverless.js):a.b, null}`: what infra/application.ts makes. */
const FROM_APPLICATION = /^\$\{file\(\.\/infra\/serverless\.js\):([\w.]+)(?:, *null)?\}$/;
/** The default of osls. */
const DEFAULT_TIMEOUT_SECONDS = 6;
const DEFAULT_MEMORY_MIB = 1024;

/**
 * Functions, routes and environment of serverless.yml, with the values that come from the application.
 *
 * @throws Error naming what it does not understand: a guess would run something else than what is deployed.
 */
export async function readServiceFile(application: Application): Promise<ServiceFile> {
  const file = sectionOf(parse(await readFile(join(ROOT, 'serverless.yml'), 'utf8')), 'the file');
  const provider = sectionOf(file.provider, 'provider');
  const entries = Object.entries(sectionOf(file.functions, 'functions')).map(
    ([name, value]) => [name, sectionOf(value, `functions.${name}`)] as const,
  );
  const value = (given: unknown): unknown => valueOf(given, application);
  return {
    functions: entries.map(([name, section]) => ({
      name,
      timeoutMs: numberOf(value(section.timeout) ?? DEFAULT_TIMEOUT_SECONDS, `functions.${name}.timeout`) * 1000,
      memoryMiB: numberOf(value(section.memorySize) ?? DEFAULT_MEMORY_MIB, `functions.${name}.memorySize`),
      reservedConcurrency: reservedOf(value(section.reservedConcurrency), name),
    })),
    routes: entries.flatMap(([name, section]) => routesOf(name, value(section.events))),
    environment: Object.fromEntries(
      Object.entries(sectionOf(provider.environment, 'provider.environment')).map(([key, given]) => [
        key,
        value(given),
      ]),
    ),
  };
}

function routesOf(functionName: string, section: unknown): readonly Route[] {
  const events = Array.isArray(section) ? (section as readonly unknown[]) : [];
  return events.map((event) => {
    const { httpApi, ...others } = sectionOf(event, `functions.${functionName}.events`);
    if (httpApi === undefined || Object.keys(others).length > 0) {
      throw cannot(
        `functions.${functionName}.events`,
        'has an event other than httpApi; rules and schedules are in infra/resources',
      );
    }
    if (httpApi === '*') return { method: 'ANY', path: DEFAULT_PATH, functionName };
    const { method, path } = sectionOf(httpApi, `functions.${functionName}.events.httpApi`);
    if (typeof method !== 'string' || typeof path !== 'string' || !path.startsWith('/')) {
      throw cannot(`functions.${functionName}.events.httpApi`, 'has no method and path');
    }
    return { method: method === '*' ? 'ANY' : method.toUpperCase(), path, functionName };
  });
}

function valueOf(given: unknown, application: Application): unknown {
  if (typeof given !== 'string' || !given.includes('${')) return given ?? undefined;
  const path = FROM_APPLICATION.exec(given)?.[1];
  if (path === undefined) throw cannot(given, 'is not a variable of infra/serverless.js');
  let value: unknown = application;
  for (const key of path.split('.')) value = sectionOf(value, given)[key];
  return value ?? undefined;
}

function reservedOf(value: unknown, name: string): number | undefined {
  return value === undefined ? undefined : numberOf(value, `functions.${name}.reservedConcurrency`);
}

function numberOf(value: unknown, where: string): number {
  if (typeof value === 'number' && value > 0) return value;
  throw cannot(where, `is ${JSON.stringify(value)}, not a number`);
}

function sectionOf(value: unknown, where: string): Section {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Section;
  throw cannot(where, 'is not a map');
}

const cannot = (where: string, what: string): Error => new Error(`serverless.yml cannot be run here: ${where} ${what}`);
