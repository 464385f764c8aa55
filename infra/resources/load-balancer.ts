import { arn, attribute, ref, type Resources } from '../cloudformation.ts';
import { functionId, stackName } from '../names.ts';
import type { StackSettings } from '../settings.ts';

const TLS_POLICY = 'ELBSecurityPolicy-TLS13-1-2-Res-2021-06';

/**
 * An internal Application Load Balancer in front of the function `registry`, for pulls that must stay inside a network. Its security groups decide who
 * reaches it. The function itself needs no VPC.
 */
export function loadBalancer({ stage, loadBalancer: place }: StackSettings): Resources {
  if (place === undefined) return {};
  const name = stackName(stage);
  const target = attribute(functionId('registry'), 'Arn');
  return {
    LoadBalancer: {
      Type: 'AWS::ElasticLoadBalancingV2::LoadBalancer',
      Properties: {
        Name: name,
        Type: 'application',
        Scheme: 'internal',
        Subnets: place.subnetIds,
        SecurityGroups: place.securityGroupIds,
        LoadBalancerAttributes: [
          { Key: 'routing.http.drop_invalid_header_fields.enabled', Value: 'true' },
          { Key: 'routing.http.desync_mitigation_mode', Value: 'strictest' },
          // Longer than the longest answer: a client may wait 20 s for a blob.
          { Key: 'idle_timeout.timeout_seconds', Value: '60' },
        ],
      },
    },
    LoadBalancerTargets: {
      Type: 'AWS::ElasticLoadBalancingV2::TargetGroup',
      // ELB refuses a target that it may not invoke.
      DependsOn: 'LoadBalancerPermission',
      Properties: {
        // Has a name, so that the permission can refer to it before it exists.
        Name: name,
        TargetType: 'lambda',
        Targets: [{ Id: target }],
        // Keeps repeated headers apart, in requests and answers.
        TargetGroupAttributes: [{ Key: 'lambda.multi_value_headers.enabled', Value: 'true' }],
      },
    },
    LoadBalancerPermission: {
      Type: 'AWS::Lambda::Permission',
      Properties: {
        FunctionName: target,
        Action: 'lambda:InvokeFunction',
        Principal: 'elasticloadbalancing.amazonaws.com',
        SourceArn: arn('elasticloadbalancing', `targetgroup/${name}/*`),
      },
    },
    LoadBalancerListener: {
      Type: 'AWS::ElasticLoadBalancingV2::Listener',
      Properties: {
        LoadBalancerArn: ref('LoadBalancer'),
        Port: 443,
        Protocol: 'HTTPS',
        SslPolicy: TLS_POLICY,
        Certificates: [{ CertificateArn: place.certificateArn }],
        DefaultActions: [{ Type: 'forward', TargetGroupArn: ref('LoadBalancerTargets') }],
      },
    },
  };
}
