import type { TransactWriteItem, UpdateItemCommandInput } from '@aws-sdk/client-dynamodb';
import type { Catalog } from '../../../lib/catalog/ports.ts';
import { dynamoCatalog } from '../../../lib/catalog/dynamo-catalog.ts';
import { dynamoClient, type DynamoConnection } from '../../../lib/table/dynamo-client.ts';
import type { Services } from '../../../lib/services.ts';
import type { ContentStore } from '../../../lib/store/content-store.ts';

/** What the schedules are run over: the product, or one from which a guard was taken. */
export interface Parts {
  readonly catalog: Catalog;
  readonly store: ContentStore;
}

/** A single write that is sent to the table, or one of a transaction. */
export type Write = Pick<UpdateItemCommandInput, 'UpdateExpression' | 'ConditionExpression' | 'Key'>;

/** The parts that stand in place of the real ones. `withWrites` gives a catalogue that sends each of its writes as `change` has it. */
export type Change = (real: Parts, withWrites: (change: (write: Write) => Partial<Write>) => Catalog) => Partial<Parts>;

export interface ChangedServices extends Disposable {
  readonly change: (services: Services) => Services;
}

/** Puts other parts in place, and at last `around` the catalogue. */
export function changedServices(
  connection: DynamoConnection & { readonly table: string },
  change: Change,
  around: (catalog: Catalog) => Catalog,
): ChangedServices {
  const clients = new DisposableStack();
  const withWrites: Parameters<Change>[1] = (changed) => {
    const client = dynamoClient(connection);
    clients.defer(() => client.destroy());
    client.middlewareStack.add(
      (next) => (args) => next({ ...args, input: changedInput(args.input as Input, changed) }),
      { step: 'initialize' },
    );
    return dynamoCatalog({ client, table: connection.table });
  };
  return {
    change(services) {
      const parts = { store: services.store, catalog: services.catalog };
      const { store, catalog } = { ...parts, ...change(parts, withWrites) };
      const outer = { store, catalog: around(catalog) };
      return { ...services, ...outer, pull: { ...services.pull, ...outer } };
    },
    [Symbol.dispose]: () => clients.dispose(),
  };
}

type Input = Partial<UpdateItemCommandInput> & { readonly TransactItems?: readonly TransactWriteItem[] };

function changedInput(input: Input, change: (write: Write) => Partial<Write>): Input {
  const changed = <T extends Write | undefined>(write: T): T =>
    write === undefined ? write : { ...write, ...change(write) };
  if (input.UpdateExpression !== undefined) return changed(input as UpdateItemCommandInput);
  if (input.TransactItems === undefined) return input;
  const TransactItems = input.TransactItems.map(({ Update, ConditionCheck, ...rest }) => ({
    ...rest,
    ...(Update && { Update: changed(Update) }),
    ...(ConditionCheck && { ConditionCheck: changed(ConditionCheck) }),
  }));
  return { ...input, TransactItems };
}
