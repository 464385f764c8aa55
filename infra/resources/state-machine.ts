import { attribute, ref, type Resources } from '../cloudformation.ts';
import { capitalised, functionArn, stackName, stateMachineName, type FunctionName } from '../names.ts';
import type { StackSettings } from '../settings.ts';
import { TASKS } from './roles.ts';

/** What stands for each placeholder of infra/workflow.ts. */
export const definitionValues = <T>(partition: T, arnOf: (name: FunctionName) => T): Readonly<Record<string, T>> => ({
  Partition: partition,
  ...Object.fromEntries(TASKS.map((name) => [`${capitalised(name)}FunctionArn`, arnOf(name)])),
});

/** The state machine that pulls, with its log. `definition`: of infra/workflow.ts, with its placeholders. */
export function workflowResources({ stage, logRetentionDays }: StackSettings, definition: object): Resources {
  return {
    WorkflowLogGroup: {
      Type: 'AWS::Logs::LogGroup',
      Properties: {
        // With this prefix the log needs no entry in the account's policy of log deliveries, whose size is limited.
        LogGroupName: `/aws/vendedlogs/states/${stackName(stage)}`,
        RetentionInDays: logRetentionDays,
      },
    },
    Workflow: {
      Type: 'AWS::StepFunctions::StateMachine',
      Properties: {
        StateMachineName: stateMachineName(stage),
        StateMachineType: 'STANDARD',
        RoleArn: attribute('WorkflowRole', 'Arn'),
        // Not by DefinitionSubstitutions: cfn-lint cannot check those.
        DefinitionString: {
          'Fn::Sub': [
            JSON.stringify(definition),
            definitionValues(ref('AWS::Partition'), (name) => functionArn(stage, name)),
          ],
        },
        LoggingConfiguration: {
          Destinations: [{ CloudWatchLogsLogGroup: { LogGroupArn: attribute('WorkflowLogGroup', 'Arn') } }],
          Level: 'ERROR',
          // States hold small numbers and ids, no secrets.
          IncludeExecutionData: true,
        },
        TracingConfiguration: { Enabled: false },
      },
    },
  };
}
