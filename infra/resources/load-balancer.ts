import { arn, attribute, ref, type Resources } from '../cloudformation.ts';
import { functionId, stackName } from '../names.ts';
import type { StackSettings } from '../settings.ts';

const TLS_POLICY = 'ELBSecurityPolicy-TLS13-1-2-Res-2021-06';

/**
 * An internal Application Load Balancer before the function `registry`, for networks that do not want their pulls to leave them: its security groups say who
 * reaches it. The function itself is in no VPC for that.
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
          // Longer than the longest answer: a client waits 20 s for a blob that is on its way.
          { Key: 'idle_timeout.timeout_seconds', Value: '60' },
        ],
      },
    },
    LoadBalancerTargets: {
      Type: 'AWS::ElasticLoadBalancingV2::TargetGroup',
      // A target that may not be invoked is refused.
      DependsOn: 'LoadBalancerPermission',
      Properties: {
        // Named, so that the permission can name it before it is there.
        Name: name,
        TargetType: 'lambda',
        Targets: [{ Id: target }],
        // Headers that come twice stay two, and answers may have several of one name.
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
