export type StatesCode =
  | 'ExecutionAlreadyExists'
  | 'ExecutionDoesNotExist'
  | 'InvalidArn'
  | 'InvalidExecutionInput'
  | 'InvalidName'
  | 'InvalidToken'
  | 'SerializationException'
  | 'StateMachineDoesNotExist'
  | 'UnknownOperationException'
  | 'ValidationException';

/** A refusal that Step Functions would give too: status 400 with its code. */
export class StatesError extends Error {
  readonly code: StatesCode;

  constructor(code: StatesCode, message: string) {
    super(message);
    this.name = 'StatesError';
    this.code = code;
  }
}
