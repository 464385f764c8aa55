import type { Template, Value } from '../cloudformation.ts';
import { ENDPOINT_PARTITIONS } from '../../lib/table/keys.ts';
import { roleId, SERVICE } from '../names.ts';
import {
  at,
  listOf,
  ofType,
  same,
  shown,
  statementsOfRole,
  statementsIn,
  textsOf,
  unless,
  type Found,
} from './check.ts';

const ROLE = 'AWS::IAM::Role';
const FUNCTION = 'AWS::Lambda::Function';
const SECRET = 'AWS::SecretsManager::Secret';

/** Actions without a resource in AWS; infra/resources gives the reason for each. */
const WITHOUT_RESOURCE = [
  /^ecr:GetAuthorizationToken$/,
  /^ec2:(?:Assign|Unassign)PrivateIpAddresses$/,
  /^ec2:(?:Create|Delete|Describe)NetworkInterfaces?$/,
  /^ec2:DescribeSubnets$/,
  /^logs:(?:Create|Get|Update|Delete)LogDelivery$/,
  /^logs:(?:ListLogDeliveries|PutResourcePolicy|DescribeResourcePolicies|DescribeLogGroups)$/,
];

export const rolesNameTheirActions = (template: Template): readonly string[] =>
  unless(ofType(template, ROLE), 'allows actions by a wildcard, or all but some', (role) =>
    statementsOfRole(role).every(
      (statement) =>
        statement.NotAction === undefined &&
        textsOf(statement.Action).length > 0 &&
        textsOf(statement.Action).every((action) => !action.includes('*')),
    ),
  );

export const rolesNameTheirResources = (template: Template): readonly string[] =>
  unless(ofType(template, ROLE), 'allows an action on every resource, though AWS can restrict it', (role) =>
    statementsOfRole(role)
      .filter(({ Effect }) => Effect === 'Allow')
      .every(
        (statement) =>
          statement.NotResource === undefined &&
          listOf(statement.Resource).length > 0 &&
          (listOf(statement.Resource).every(
            (one) => isConfined(one) || secretArns(template).some((arn) => same(arn, one)),
          ) ||
            textsOf(statement.Action).every((action) => WITHOUT_RESOURCE.some((known) => known.test(action)))),
      ),
  );

/** `Ref` gives the ARN only for a secret. */
const secretArns = (template: Template): readonly Value[] => ofType(template, SECRET).map(({ id }) => ({ Ref: id }));

/** Neither everything nor every resource of a kind. The repositories of ECR are up to the configuration. */
const isConfined = (resource: Value): boolean => {
  const name = typeof resource === 'string' ? resource : at(resource, 'Fn::Sub');
  if (typeof name !== 'string') return at(resource, 'Fn::GetAtt') !== undefined;
  const [scheme, , , , , ...rest] = name.replace(/\$\{[^}]*\}/g, 'x').split(':');
  const named = scheme === 'arn' ? rest.join(':') : scheme;
  return named !== undefined && !/^(?:\*|$)|^(?!repository\/)[a-z-]+[:/]\*$/.test(named);
};

export const rolesHaveNoManagedPolicies = (template: Template): readonly string[] =>
  unless(ofType(template, ROLE), 'takes a managed policy, which others may widen', ({ properties }) =>
    same(properties.ManagedPolicyArns ?? [], []),
  );

export const functionsHaveRolesOfTheirOwn = (template: Template): readonly string[] => {
  const roles = ofType(template, FUNCTION).map(({ properties }) => shown(properties.Role));
  return unless(
    ofType(template, FUNCTION),
    'shares its role, or has none',
    ({ properties }) =>
      properties.Role !== undefined && roles.filter((role) => role === shown(properties.Role)).length === 1,
  );
};

/** A role can be assumed by one service, and only for this account if the service names its source. */
export const rolesTrustOneService = (template: Template): readonly string[] =>
  unless(ofType(template, ROLE), 'can be assumed by others than one service for this account', ({ properties }) => {
    const [statement, ...others] = statementsIn(properties.AssumeRolePolicyDocument);
    const service = at(statement?.Principal, 'Service');
    if (others.length > 0 || statement?.Effect !== 'Allow' || typeof service !== 'string') return false;
    if (Object.keys(statement.Principal as object).length !== 1) return false;
    const account = at(statement.Condition, 'StringEquals', 'aws:SourceAccount');
    return service === 'lambda.amazonaws.com' || same(account, { Ref: 'AWS::AccountId' });
  });

export const rolesShareBoundaryAndPath = (template: Template): readonly string[] => {
  const all = ofType(template, ROLE);
  const kinds = new Set(
    all.map(({ properties }) => shown([properties.PermissionsBoundary ?? '', properties.Path ?? ''])),
  );
  return kinds.size <= 1 ? [] : ['some roles have another permissions boundary or path than the others'];
};

/** A function that reads content must be able to distinguish absence from refusal (I6). */
export const readersCanTellAbsence = (template: Template): readonly string[] =>
  unless(ofType(template, ROLE), 'reads content, but without s3:ListBucket absence looks like refusal', (role) => {
    const allows = (action: string, within = ''): boolean =>
      statementsOfRole(role).some(
        (statement) =>
          statement.Effect === 'Allow' &&
          statement.Condition === undefined &&
          textsOf(statement.Action).includes(action) &&
          listOf(statement.Resource).some((resource) => shown(resource).includes(within)),
      );
    return !allows('s3:GetObject', '/blobs/*') || allows('s3:ListBucket');
  });

const WRITES_ROWS = /^dynamodb:(?:BatchWriteItem|DeleteItem|PartiQL\w+|PutItem|UpdateItem)$/;

/** The function that the internet reaches may write locks, pulls and waiting clients, but nothing that decides what a repository serves. */
export const doorChangesNothingServed = (template: Template): readonly string[] =>
  unless(
    ofType(template, ROLE).filter(({ id }) => id === roleId('registry')),
    'may change what repositories serve',
    (role) =>
      statementsOfRole(role)
        .filter(({ Effect }) => Effect === 'Allow')
        .every(({ Action, Condition }) => {
          const actions = textsOf(Action);
          if (actions.some((action) => /^s3:(?!Get|List)/.test(action))) return false;
          if (!actions.some((action) => WRITES_ROWS.test(action))) return true;
          const partitions = textsOf(at(Condition, 'ForAllValues:StringLike', 'dynamodb:LeadingKeys'));
          return (
            partitions.length > 0 &&
            partitions.every((one) => ENDPOINT_PARTITIONS.includes(one)) &&
            at(Condition, 'Null', 'dynamodb:LeadingKeys') === 'false'
          );
        }),
  );

/** Code that can read the signing secret can impersonate anyone: only the function behind the authoriser may. */
export const onlyTheApiSigns = (template: Template): readonly string[] =>
  unless(
    ofType(template, ROLE).filter(({ id }) => id !== roleId('api')),
    'may read the secret that signs passwords',
    (role) =>
      !statementsOfRole(role)
        .filter(({ Effect }) => Effect === 'Allow')
        .flatMap(({ Resource }) => listOf(Resource))
        .some((one) => secretArns(template).some((arn) => same(arn, one))),
  );

/** Only a function that puts objects may delete a wrong one. */
export const objectsAreReplacedAlone = (template: Template): readonly string[] =>
  unless(ofType(template, ROLE), 'may delete objects that it does not put', (role) =>
    statementsOfRole(role)
      .filter(({ Effect, Action }) => Effect === 'Allow' && textsOf(Action).includes('s3:DeleteObject'))
      .every(
        ({ Action, Resource }) =>
          textsOf(Action).includes('s3:PutObject') && listOf(Resource).every((one) => shown(one).includes('/blobs/*')),
      ),
  );

export const invokersAreNamed = (template: Template): readonly string[] =>
  unless(ofType(template, 'AWS::Lambda::Permission'), 'lets a service invoke for anybody', ({ properties }) => {
    const { Principal, SourceArn, Action } = properties;
    return (
      typeof Principal === 'string' &&
      Principal.endsWith('.amazonaws.com') &&
      SourceArn !== undefined &&
      Action === 'lambda:InvokeFunction'
    );
  });

/** Every route of the control API has an authoriser: IAM, or a JWT whose issuer and audience are checked. */
export const routesAskWhoCalls = (template: Template): readonly string[] => {
  const routes = ofType(template, 'AWS::ApiGatewayV2::Route');
  const authorizers = new Map(
    ofType(template, 'AWS::ApiGatewayV2::Authorizer').map(({ id, properties }) => [id, properties]),
  );
  const guarded = routes.filter((route) => !isRegistryRoute(route));
  const open = unless(guarded, 'is open to everybody', ({ properties }) => {
    if (properties.AuthorizationType === 'AWS_IAM') return true;
    const by = at(properties.AuthorizerId, 'Ref');
    const jwt = typeof by === 'string' ? authorizers.get(by)?.JwtConfiguration : undefined;
    const audience = textsOf(at(jwt, 'Audience')).filter((name) => name !== '');
    return (
      properties.AuthorizationType === 'JWT' && audience.length > 0 && /^https:\/\/./.test(shown(at(jwt, 'Issuer')))
    );
  });
  const anything = unless(
    guarded,
    'matches whatever no other route matches',
    ({ properties }) => properties.RouteKey !== '$default',
  );
  return [...open, ...anything];
};

/** The default route is the registry endpoint's, which asks for a password itself, by Basic. */
const isRegistryRoute = ({ properties }: Found): boolean =>
  properties.RouteKey === '$default' && shown(properties.Target).includes('"HttpApiIntegrationRegistry"');

/** Internal, by TLS, restricted by a security group. */
export const loadBalancersAreInside = (template: Template): readonly string[] => [
  ...unless(
    ofType(template, 'AWS::ElasticLoadBalancingV2::LoadBalancer'),
    'faces the internet, has no security group, or accepts invalid headers',
    ({ properties }) =>
      properties.Scheme === 'internal' &&
      listOf(properties.SecurityGroups).length > 0 &&
      listOf(properties.LoadBalancerAttributes).some(
        (one) => at(one, 'Key') === 'routing.http.drop_invalid_header_fields.enabled' && at(one, 'Value') === 'true',
      ),
  ),
  ...unless(
    ofType(template, 'AWS::ElasticLoadBalancingV2::Listener'),
    'listens without TLS, or with an old one',
    ({ properties }) =>
      properties.Protocol === 'HTTPS' &&
      shown(properties.SslPolicy).includes('TLS13') &&
      listOf(properties.Certificates).length > 0,
  ),
];

/** Other accounts only by their id, for the one detail type, and never with our source. */
export const busKnowsItsSenders = (template: Template): readonly string[] =>
  unless(
    ofType(template, 'AWS::Events::EventBusPolicy'),
    'lets others put more than requests to pull',
    ({ properties }) => {
      const statement = properties.Statement;
      return (
        /:iam::\d{12}:root"?\}?$/.test(shown(at(statement, 'Principal', 'AWS'))) &&
        at(statement, 'Action') === 'events:PutEvents' &&
        typeof at(statement, 'Condition', 'StringEquals', 'events:detail-type') === 'string' &&
        at(statement, 'Condition', 'StringNotEquals', 'events:source') === SERVICE
      );
    },
  );

/** The environment holds no secret, only ARNs of secrets: anyone who may view a function can read it. */
export const environmentsHoldNoSecrets = (template: Template): readonly string[] => {
  const arns = secretArns(template);
  return unless(ofType(template, FUNCTION), 'has a variable that looks like a secret', ({ properties }) => {
    const variables = Object.entries(
      (at(properties.Environment, 'Variables') ?? {}) as Readonly<Record<string, Value>>,
    );
    return variables.every(
      ([name, value]) =>
        !/SECRET|PASSWORD|TOKEN|CREDENTIAL|API_?KEY/i.test(name) || arns.some((secret) => same(secret, value)),
    );
  });
};

/** Secrets are generated in the account and never in a template. */
export const secretsAreGenerated = (template: Template): readonly string[] =>
  unless(
    ofType(template, SECRET),
    'is not generated, or is short enough to be guessed',
    ({ properties }) =>
      properties.SecretString === undefined && Number(at(properties.GenerateSecretString, 'PasswordLength') ?? 0) >= 32,
  );
