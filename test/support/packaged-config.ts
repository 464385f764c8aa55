/** The smallest configuration that may be packaged. */
export const LITTLE = `
registries:
  ghcr.io: {}
`;

/** One of everything that reaches a template. */
export const EVERYTHING = `
registries:
  ghcr.io: {}
  registry.example.test: { credentials: { secret: example/registry }, allow: ['team/**'] }
  123456789012.dkr.ecr.eu-central-1.amazonaws.com: { allow: ['**'] }
  210987654321.dkr.ecr.eu-central-1.amazonaws.com:
    credentials: { ecr: { roleArn: 'arn:aws:iam::210987654321:role/reader' } }
    allow: ['base/*']
warmups:
  nightly:
    schedule: cron(0 3 * * ? *)
    timeZone: Europe/Berlin
    images: [{ reference: 'ghcr.io/org/app:latest' }]
events:
  ecrPushes: ['team/**', one]
  senders: ['111122223333']
access:
  jwt: { issuer: 'https://issuer.example.test', audience: [entrepot], claim: { name: groups, anyOf: [builders] } }
`;

/** A front inside the network, without sign-in. */
export const BEHIND_ALB = `${EVERYTHING}
serve: { front: alb, auth: none }
`;
export const ALB_PARAMETERS = [
  'albSubnetIds=subnet-0123456789abcdef0,subnet-0123456789abcdef1',
  'albSecurityGroupIds=sg-0123456789abcdef0',
  'albCertificateArn=arn:aws:acm:eu-central-1:123456789012:certificate/01234567-89ab-cdef-0123-456789abcdef',
];

export const KEY_ARN = 'arn:aws:kms:eu-central-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef';

/** Each parameter of serverless.yml, except those for what exists already. */
export const EVERY_PARAMETER = [
  `kmsKeyArn=${KEY_ARN}`,
  'logRetentionDays=90',
  'permissionsBoundary=arn:aws:iam::123456789012:policy/boundary',
  'rolePath=/team/',
  'tags=team=platform,cost-centre=42',
  'vpcSubnetIds=subnet-0123456789abcdef0, subnet-0123456789abcdef1',
  'vpcSecurityGroupIds=sg-0123456789abcdef0',
  'copyConcurrency=none',
  'alarmTopicArn=arn:aws:sns:eu-central-1:123456789012:alarms',
  'apiRequestsPerSecond=10',
  'registryRequestsPerSecond=5000',
  'registryConcurrency=500',
];
