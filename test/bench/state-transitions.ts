import type { WorkflowDefinition } from '../../infra/workflow.ts';

type States = WorkflowDefinition['States'];

/**
 * What Step Functions charges for one execution of the pull that copies in so many batches and needs no second try: each state that is entered, those
 * of the map's iterations included. By the definition, so that it follows changes of the state machine.
 */
export const transitionsOf = ({ StartAt, States: states }: WorkflowDefinition, batches: number): number =>
  walk(StartAt, states, batches);

function walk(first: string, states: States, batches: number): number {
  let transitions = 0;
  for (let name: string | undefined = first; name !== undefined;) {
    const state: States[string] | undefined = states[name];
    if (state === undefined) throw new Error(`the state machine has no state ${name}`);
    transitions += 1;
    switch (state.Type) {
      case 'Choice':
        name =
          batches > 0
            ? (state.Choices.find(({ StringEquals }) => StringEquals === 'copy')?.Next ?? state.Default)
            : state.Default;
        break;
      case 'Map':
        transitions += batches * walk(state.ItemProcessor.StartAt, state.ItemProcessor.States, batches);
        name = state.Next;
        break;
      case 'Task':
      case 'Wait':
        name = state.Next;
        break;
      case 'Succeed':
      case 'Fail':
        name = undefined;
    }
  }
  return transitions;
}
