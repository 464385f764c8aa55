import { startEmbeddedDynamo } from '../support/embedded-dynamo.ts';
import { catalogSuite } from './catalog-suite.ts';

catalogSuite('the embedded DynamoDB', startEmbeddedDynamo);
