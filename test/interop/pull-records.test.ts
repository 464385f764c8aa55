import { pullRecordsSuite } from '../conformance/pull-records-suite.ts';
import { startRealDynamo } from './dynamo-endpoint.ts';

pullRecordsSuite('DynamoDB Local', startRealDynamo);
