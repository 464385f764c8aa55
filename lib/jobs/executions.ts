/** The executions of the state machine that pulls, one for each pull, by its id. */
export interface Executions {
  /**
   * `started`: accepted, also where one of that name runs already. `over`: one of that name ran, and a name is not given twice.
   *
   * @throws JobUnavailableError (retryable), CacheError (not retryable) where the workflow service refuses us
   */
  start(id: string, signal: AbortSignal): Promise<'started' | 'over'>;
  /**
   * `gone`: nobody knows (any more) of such an execution, so it does not run. Best effort: an execution that began or ended a moment ago may be told otherwise.
   *
   * @throws like `start`
   */
  look(id: string, signal: AbortSignal): Promise<'running' | 'over' | 'gone'>;
  /**
   * When the oldest of those that run began; undefined where none runs. Of very many, not all are looked at.
   *
   * @throws like `start`
   */
  oldestStartMs(signal: AbortSignal): Promise<number | undefined>;
}
