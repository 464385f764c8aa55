import { startEmbeddedDynamo } from '../support/embedded-dynamo.ts';
import { pullRecordsSuite } from './pull-records-suite.ts';

pullRecordsSuite('the embedded DynamoDB', startEmbeddedDynamo);
