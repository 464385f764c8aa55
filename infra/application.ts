import type { CompiledConfig } from '../lib/config/compiled.ts';
import { BASIC_CHALLENGE } from '../lib/access/basic.ts';
import { ConfigError } from '../lib/errors/cache-error.ts';
import type { Output, Resource, Resources, Value } from './cloudformation.ts';
import { attribute, ref } from './cloudformation.ts';
import { busName, functionName, metricsService, stateMachineArn } from './names.ts';
import { alarms, NAMESPACE } from './resources/alarms.ts';
import { dashboard } from './resources/dashboard.ts';
import { loadBalancer } from './resources/load-balancer.ts';
import { queues } from './resources/queues.ts';
import { roles } from './resources/roles.ts';
import { rules } from './resources/rules.ts';
import { schedules } from './resources/schedules.ts';
import { storage } from './resources/storage.ts';
import { signing, signingSecretArn } from './resources/signing.ts';
import { workflowResources } from './resources/state-machine.ts';
import type { StackSettings } from './settings.ts';
import { workflowDefinition } from './workflow.ts';

/** Everything of serverless.yml that depends on the parameters of the stack and on the configuration of the cache. */
export interface Application {
  /** The section `resources`: what is not a function, its log group or its route. */
  readonly resources: {
    readonly Resources: Resources;
    readonly Outputs: Readonly<Record<string, Output>>;
    /** Properties of resources that osls makes, which serverless.yml cannot set. */
    readonly extensions: Readonly<Record<string, Pick<Resource, 'Properties' | 'DependsOn'>>>;
  };
  readonly environment: Readonly<Record<string, Value>>;
  /** `provider.vpc`; null outside any VPC. */
  readonly vpc: NonNullable<StackSettings['vpc']> | null;
  readonly stackTags: Readonly<Record<string, string>>;
  readonly logRetentionDays: number;
  /** `provider.httpApi.authorizers`; IAM needs none. */
  readonly authorizers: Readonly<Record<string, Value>>;
  /** Of every route. */
  readonly authorizer: Readonly<Record<string, string>>;
  /** Of the function `registry`: the default route of the HTTP API, without an authoriser. None behind a load balancer. */
  readonly registryEvents: readonly Value[];
  /** Memory of the functions that copy, in MiB. */
  readonly copyMemory: number;
  /** Null: nothing is reserved. */
  readonly copyConcurrency: number | null;
  readonly registryConcurrency: number | null;
}

const MIB = 1024 * 1024;
/** One whole processor, by Lambda's rule: digests, checksums and TLS need it. */
const MIN_COPY_MEMORY = 1769;
/** Memory of a copying process besides its window of parts: docs/performance.md. */
const COPY_BASE_MEMORY = 384;
const MAX_MEMORY = 10_240;

/** The application for these settings and this configuration. The same input gives the same application. */
export function application(settings: StackSettings, config: CompiledConfig): Application {
  const { stage, vpc, tags, logRetentionDays, copyConcurrency, registryConcurrency } = settings;
  const store = storage(settings);
  const events = rules(stage, config, store);
  const { jwt } = config.access;
  requireFront(settings, config);
  const isHttpApi = config.serve.front === 'httpApi';
  return {
    resources: {
      Resources: {
        ...store.resources,
        ...signing(settings),
        ...queues(events.ruleIds),
        ...events.resources,
        ...schedules(stage, config.warmups),
        ...loadBalancer(settings),
        ...roles({ settings, config, storage: store }),
        ...workflowResources(settings, workflowDefinition()),
        ...alarms(settings),
        ...dashboard(stage),
      },
      Outputs: {
        BucketName: { Description: 'The bucket of the content', Value: store.bucketName },
        TableName: { Description: 'The table of the catalogue', Value: store.tableName },
        StateMachineArn: { Description: 'The workflow that pulls', Value: ref('Workflow') },
        BusName: { Description: 'The bus that takes events and announces others', Value: ref('Bus') },
        FailedEventsUrl: { Description: 'Events that a function failed with', Value: ref('FailedEvents') },
        UndeliveredEventsUrl: {
          Description: 'Events that reached no function',
          Value: ref('UndeliveredEvents'),
        },
        ContentDeletedUrl: { Description: 'Deletions of content, to be looked at', Value: ref('ContentDeleted') },
        ...(isHttpApi
          ? {}
          : {
              LoadBalancerName: {
                Description: 'What the name that clients pull from must be an alias of',
                Value: attribute('LoadBalancer', 'DNSName'),
              },
            }),
        PullFunctionArn: {
          Description: 'For direct invocations',
          Value: attribute('PullLambdaFunction', 'Arn'),
        },
      },
      extensions: {
        HttpApiStage: {
          Properties: {
            DefaultRouteSettings: throttling(settings.apiRequestsPerSecond),
            ...(isHttpApi ? { RouteSettings: { $default: throttling(settings.registryRequestsPerSecond) } } : {}),
          },
          // API Gateway refuses settings of a route that does not exist yet.
          ...(isHttpApi ? { DependsOn: ['HttpApiRouteDefault'] } : {}),
        },
        ...(isHttpApi ? { HttpApiIntegrationRegistry: { Properties: { ResponseParameters: CHALLENGE } } } : {}),
      },
    },
    environment: {
      ENTREPOT_BUCKET: store.bucketName,
      ENTREPOT_TABLE: store.tableName,
      ENTREPOT_STATE_MACHINE: stateMachineArn(stage),
      ENTREPOT_BUS: busName(stage),
      ENTREPOT_FETCH_FUNCTION: functionName(stage, 'fetch'),
      ENTREPOT_SIGNING_SECRET: signingSecretArn,
      POWERTOOLS_SERVICE_NAME: metricsService(stage),
      POWERTOOLS_METRICS_NAMESPACE: NAMESPACE,
    },
    vpc: vpc ?? null,
    stackTags: { application: 'entrepot', ...tags },
    logRetentionDays,
    authorizers:
      jwt === undefined
        ? {}
        : {
            callers: {
              type: 'jwt',
              identitySource: '$request.header.Authorization',
              issuerUrl: jwt.issuer,
              audience: jwt.audience,
            },
          },
    authorizer: jwt === undefined ? { type: 'aws_iam' } : { name: 'callers' },
    registryEvents: isHttpApi ? [{ httpApi: '*' }] : [],
    copyMemory: copyMemory(config),
    copyConcurrency: copyConcurrency ?? null,
    registryConcurrency: registryConcurrency ?? null,
  };
}

const throttling = (requestsPerSecond: number): Readonly<Record<string, number>> => ({
  ThrottlingRateLimit: requestsPerSecond,
  ThrottlingBurstLimit: 2 * requestsPerSecond,
});

/**
 * API Gateway may rename the challenge of a function to `x-amzn-remapped-www-authenticate`†, which no client understands. So the integration
 * sets it: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-parameter-mapping.html
 */
const CHALLENGE: Value = {
  '401': { ResponseParameters: [{ Destination: 'overwrite:header.www-authenticate', Source: BASIC_CHALLENGE }] },
};

/** @throws ConfigError unless the stack has the front that the configuration names. */
function requireFront({ loadBalancer }: StackSettings, { serve: { front } }: CompiledConfig): void {
  if (front === 'alb' && loadBalancer === undefined) {
    throw new ConfigError(
      'serve.front is alb: give the parameters albSubnetIds, albSecurityGroupIds and albCertificateArn, which say where the load balancer is',
    );
  }
  if (front !== 'alb' && loadBalancer !== undefined) {
    throw new ConfigError(
      'the parameters albSubnetIds, albSecurityGroupIds and albCertificateArn are for a load balancer: set serve.front to alb in the configuration, or leave them out',
    );
  }
}

/**
 * Enough for every window of parts at once, in MiB.
 *
 * @throws ConfigError if no function can have that much.
 */
function copyMemory({ limits }: CompiledConfig): number {
  const windowBytes = limits.pull.parallelBlobs * limits.windowParts * limits.partBytes;
  const needed = COPY_BASE_MEMORY + Math.ceil(windowBytes / MIB);
  if (needed > MAX_MEMORY) {
    throw new ConfigError(
      `limits.parallelBlobs × windowParts × partBytes need ${needed} MiB of memory, and a function has ${MAX_MEMORY} at most; lower one of them`,
    );
  }
  return Math.max(MIN_COPY_MEMORY, needed);
}
