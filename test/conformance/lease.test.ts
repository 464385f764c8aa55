import { startEmbeddedDynamo } from '../support/embedded-dynamo.ts';
import { leaseSuite } from './lease-suite.ts';

leaseSuite('the embedded DynamoDB', startEmbeddedDynamo);
